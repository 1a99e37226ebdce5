"""``TwoInOneConfig``: what a two-in-one network is made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from rangemask.errors import InputError, UnknownNameError
from rangemask.models.plain import from_plain
from rangemask.models.two_in_one.decoder import (
    DECODER_CHANNELS,
    PUBLISHED_CHANNELS,
    Path,
    check_decoder,
)
from rangemask.models.two_in_one.levels import (
    LEVELS,
    MAX_DISPARITY_PX,
    MIN_DISPARITY_PX,
    PUBLISHED_D2D,
    PUBLISHED_FULL_SIZE,
)

Scales: TypeAlias = Literal["published", "quarter"]
SCALES: tuple[Scales, ...] = get_args(Scales)
ENCODERS: Mapping[str, str] = MappingProxyType(
    {
        "dinov2s": "small",
        "dinov2b": "base",
        "dinov2l": "large",
        "dinov2g": "giant",
        "nano": "nano",
    }
)
"""Names of encoders on DINOv2, and the size of the vision transformer."""
SWIN = "swin-t"
"""The authors' encoder, for their checkpoints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoInOneConfig:
    """A two-in-one network; numbers of the decoder are named as its authors' options.

    Raises:
        InputError: a name is unknown or a number impossible.
    """

    encoder: str = "dinov2b"
    """dinov2s, dinov2b, dinov2l, dinov2g; nano, for tests and processors; or swin-t, the authors'
    encoder, whose scales and widths are fixed and which learns whole."""
    pyramid: Scales = "published"
    """``published``: maps at 1/2, 1/4, 1/8 and 1/16 of the image, as the authors' encoder gives
    them; ``quarter``: at 1/4 to 1/32, for a quarter of the decoder's cost and blockier edges."""
    encoder_channels: tuple[int, ...] = PUBLISHED_CHANNELS
    """Of the four maps, fine to coarse; the published ones, so that published decoders fit."""
    detail_channels: int = 32
    """Of the convolutions that bring what is finer than a patch to the two finest maps; 0 leaves
    them out."""
    trained_blocks: int | None = None
    """Last blocks of the vision transformer that learn; None: none, but all of nano's, of which
    there are no weights."""
    decoder_ch_num: tuple[int, ...] = DECODER_CHANNELS
    """Channels of the decoder's scales 0 to 3."""
    out_ch: int = LEVELS
    """Levels of disparity."""
    min_disp: float = MIN_DISPARITY_PX
    """The first level, px of the network's input."""
    max_disp: float = MAX_DISPARITY_PX
    """The last level, px."""
    d2d: float = PUBLISHED_D2D
    """Focal length (px) times baseline (m) at the full width of training; turns disparity into
    depth."""
    full_size: tuple[int, ...] = PUBLISHED_FULL_SIZE
    """Height and width, px, that whole images had in training; what the network sees in use has
    about as many pixels."""
    focal_px: float | None = None
    """Focal length of the training's cameras at that width, where it is known: depth of one image
    of another lens is scaled by it."""
    metric: bool = True
    """Whether ``d2d`` is a rig's; without a baseline there is none, and depth has no scale."""
    mono_path: Path = "refine"
    """What one image is answered by: ``refine``, the distilled branch, or ``mono``, where that
    branch has not been trained."""

    def __post_init__(self) -> None:
        known = (*ENCODERS, SWIN)
        if self.encoder not in known:
            raise UnknownNameError(f"no encoder {self.encoder!r}; known: {', '.join(known)}.")
        fixed = self.pyramid == "published" and self.encoder_channels == PUBLISHED_CHANNELS
        if self.encoder == SWIN and not (fixed and self.trained_blocks is None):
            raise InputError(
                f"{SWIN} has its own scales and widths and learns whole; leave pyramid, "
                "encoder_channels and trained_blocks out."
            )
        if self.pyramid not in SCALES:
            raise InputError(f"pyramid must be one of {', '.join(SCALES)}, got {self.pyramid!r}.")
        if self.mono_path not in get_args(Path):
            raise InputError(f"mono_path must be mono or refine, got {self.mono_path!r}.")
        if self.detail_channels < 0 or (self.trained_blocks or 0) < 0:
            raise InputError(
                "detail_channels and trained_blocks must not be negative, got "
                f"{self.detail_channels} and {self.trained_blocks}."
            )
        if len(self.full_size) != 2 or min(self.full_size) < 1:
            raise InputError(f"full_size must be height and width, px, got {self.full_size}.")
        if self.focal_px is not None and not 0 < self.focal_px < float("inf"):
            raise InputError(f"focal_px must be positive, got {self.focal_px}.")
        check_decoder(
            self.encoder_channels,
            self.decoder_ch_num,
            self.out_ch,
            self.min_disp,
            self.max_disp,
            self.d2d,
        )

    @property
    def backbone(self) -> str:
        """The vision transformer's name; of no meaning for swin-t."""
        return f"dinov2-{ENCODERS[self.encoder]}" if self.encoder in ENCODERS else self.encoder

    @classmethod
    def preset(cls, encoder: str, **options: Any) -> TwoInOneConfig:
        """A network of a size: the published decoder, or a small one for ``nano``.

        Args:
            encoder: see ``encoder``.
            **options: other fields.

        Raises:
            InputError: as for the class.
        """
        if encoder == "nano":
            small = {
                "encoder_channels": (24, 32, 48, 64),
                "decoder_ch_num": (16, 32, 48, 64),
                "detail_channels": 16,
            }
            return cls(encoder=encoder, **{**small, **options})
        return cls(encoder=encoder, **options)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TwoInOneConfig:
        """From plain values.

        Raises:
            InputError: an entry is unknown or impossible.
        """
        config: TwoInOneConfig = from_plain(cls, values, "config")
        return config
