"""``TwoInOne``: one encoder and one decoder, for one image and for a pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from rangemask.errors import InputError
from rangemask.models.card import ModelCard
from rangemask.models.images import check_images
from rangemask.models.two_in_one.config import TwoInOneConfig
from rangemask.models.two_in_one.decoder import Decoded, Decoder
from rangemask.models.two_in_one.decoder import Path as DecoderPath
from rangemask.models.two_in_one.encoder import MULTIPLE_PX, build_encoder

if TYPE_CHECKING:
    from rangemask.structures import Scene, StereoFrame


class TwoInOne(nn.Module):
    """Depth from one image, and from two where there are two (arXiv 2309.00933).

    Args:
        encoder: images (B, 3, H, W) in [0, 1] to the four maps that the decoder reads.
        decoder: of the encoder's channels.
        config: what it is made of; the default where parts were made by hand.
        card: where its weights come from.
    """

    multiple_px = MULTIPLE_PX

    def __init__(
        self,
        encoder: nn.Module,
        decoder: Decoder,
        *,
        config: TwoInOneConfig | None = None,
        card: ModelCard | None = None,
    ) -> None:
        super().__init__()
        self.config = config if config is not None else TwoInOneConfig()
        self.card = card if card is not None else ModelCard()
        self.encoder = encoder
        self.decoder = decoder

    def forward(
        self,
        left: Tensor | Sequence[Tensor],
        right: Tensor | Sequence[Tensor] | None = None,
        *,
        path: DecoderPath | None = None,
        both: bool = False,
    ) -> Decoded:
        """Disparity and depth of the left images.

        Args:
            left: (B, 3, H, W) float RGB in [0, 1], both sides multiples of 32, or a sequence of
                (3, H, W) of one size.
            right: the same of the right camera, rectified; None for one eye.
            path: for one eye, see ``Decoder``; None for ``config.mono_path``.
            both: of a pair: the right images' disparity too, in ``other``.

        Raises:
            InputError: images are not as stated.
        """
        images = self._checked(left)
        size = (images.shape[-2], images.shape[-1])
        pyramid = self.encoder(images)
        if right is None:
            chosen = self.config.mono_path if path is None else path
            alone: Decoded = self.decoder(pyramid, size=size, path=chosen)
            return alone
        partners = self._checked(right)
        if partners.shape != images.shape:
            raise InputError(
                f"left and right images must have one shape, got {tuple(images.shape)} and "
                f"{tuple(partners.shape)}."
            )
        pair: Decoded = self.decoder(pyramid, self.encoder(partners), size, both=both)
        return pair

    def predict(self, frame: StereoFrame, **options: Any) -> Scene:
        """Depth of one frame, from one eye or from two.

        Args:
            frame: one image or a rectified pair.
            **options: of ``rangemask.Pipeline``; there are no masks unless ``masks`` names a
                segmenter.

        Raises:
            InputError: the frame does not fit.
        """
        # The front door of the student path: a scene is made on a higher floor.
        from rangemask.student import predict_two_in_one

        return predict_two_in_one(self, frame, **options)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card, whole or not at all.

        Raises:
            OutputError: the folder exists and overwrite is off, or it cannot be written.
        """
        from rangemask.models.two_in_one.pretrained import save_two_in_one

        return save_two_in_one(self, folder, overwrite=overwrite)

    def _checked(self, images: Tensor | Sequence[Tensor]) -> Tensor:
        batch = check_images(images)
        if batch.shape[-2] % MULTIPLE_PX or batch.shape[-1] % MULTIPLE_PX:
            raise InputError(
                f"images must be multiples of {MULTIPLE_PX} px, got {batch.shape[-2]} x "
                f"{batch.shape[-1]}; resize them, and disparities by as much."
            )
        return batch


def build_two_in_one(config: TwoInOneConfig, card: ModelCard | None = None) -> TwoInOne:
    """A network with random weights.

    Args:
        config: what it is made of.
        card: where its weights will come from.
    """
    decoder = Decoder(
        config.encoder_channels,
        decoder_ch_num=config.decoder_ch_num,
        out_ch=config.out_ch,
        min_disp=config.min_disp,
        max_disp=config.max_disp,
        d2d=config.d2d,
    )
    return TwoInOne(build_encoder(config), decoder, config=config, card=card)
