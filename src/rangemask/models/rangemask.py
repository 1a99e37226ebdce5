"""``RangeMask``: one pass of a DINOv2 backbone, and every head that reads it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone, parse_name
from rangemask.models.blocks import cast, compute_in
from rangemask.models.card import ModelCard
from rangemask.models.config import RangeMaskConfig
from rangemask.models.heads.depth import DepthHead
from rangemask.models.heads.fusion import FusionHead, presence_of
from rangemask.models.heads.masks.automatic import AutomaticMaskHead, MaskOutput, masks_of
from rangemask.models.heads.masks.promptable import PromptEmbedding, PromptHead
from rangemask.models.heads.semantic import SemanticHead
from rangemask.models.heads.stereo import StereoHead, StereoOutput
from rangemask.models.images import check_images, normalise
from rangemask.models.presets import DPT_SIZES
from rangemask.models.pyramid import Pyramid

if TYPE_CHECKING:
    from rangemask.structures import Scene, StereoFrame


class Encoded(NamedTuple):
    """What is computed once per image, and all that heads see of it."""

    tokens: tuple[Tensor, ...]
    """(B, C, h, w) of four layers, shallow to deep."""
    pyramid: tuple[Tensor, ...]
    """(B, P, ., .) at strides of 3.5, 7, 14 and 28 px; empty where no head reads it."""


class RangeMaskOutput(NamedTuple):
    """What the heads say; None where a head is not there or was not asked."""

    depth: Tensor | None = None
    """(B, H, W): metres, or relative inverse depth; ``config.depth`` tells."""
    stereo: StereoOutput | None = None
    masks: MaskOutput | None = None
    prompts: PromptEmbedding | None = None
    """To be asked by ``RangeMask.prompts.predict``."""
    semantic_logits: Tensor | None = None
    """(B, K, H / 14, W / 14); ``heads.semantic.semantic_ids`` brings them to the input's size."""


class RangeMask(nn.Module):
    """One trunk and one pyramid; heads read them and know nothing of each other.

    Args:
        config: what it is made of.
        backbone: DINOv2, tapped at four layers.
        pyramid: of the backbone's tokens; None where no head reads it.
        depth: head for one eye.
        stereo: head for two.
        masks: head that finds objects by itself.
        prompts: head that answers points, boxes and masks.
        semantic: head that names each pixel.
        fusion: head that refines the map and the masks by each other.
        card: where its weights come from.
    """

    def __init__(
        self,
        config: RangeMaskConfig,
        *,
        backbone: Backbone,
        pyramid: Pyramid | None,
        depth: DepthHead | None = None,
        stereo: StereoHead | None = None,
        masks: AutomaticMaskHead | None = None,
        prompts: PromptHead | None = None,
        semantic: SemanticHead | None = None,
        fusion: FusionHead | None = None,
        card: ModelCard | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.card = card if card is not None else ModelCard()
        self.backbone = backbone
        self.pyramid = pyramid
        self.depth, self.stereo, self.masks = depth, stereo, masks
        self.prompts, self.semantic, self.fusion = prompts, semantic, fusion
        self.freeze()

    def freeze(self) -> None:
        """Freeze the backbone but for its last ``config.trained_blocks`` blocks.

        With all of its blocks everything learns, the embedding of patches and positions too.
        """
        self.backbone.requires_grad_(False)
        trained = self.config.trained_blocks
        if trained > self.backbone.depth:
            raise InputError(
                f"trained_blocks is {trained}, but the backbone has {self.backbone.depth} blocks."
            )
        if trained == self.backbone.depth:
            self.backbone.requires_grad_(True)
        elif trained:
            self.backbone.vit.blocks[-trained:].requires_grad_(True)
            self.backbone.vit.norm.requires_grad_(True)

    @property
    def head_dtype(self) -> torch.dtype:
        """What the heads compute in."""
        part = self.pyramid if self.pyramid is not None else self.semantic
        assert part is not None  # noqa: S101 - every head but `semantic` brings a pyramid
        return next(part.parameters()).dtype

    def right_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width at which the backbone sees right images of a size."""
        scale = 1.0 if self.stereo is None else self.stereo.config.right_scale
        patch = self.backbone.patch_px
        height, width = (max(round(side * scale / patch), 1) * patch for side in size)
        return height, width

    def forward(
        self,
        images: Tensor | Sequence[Tensor],
        right_images: Tensor | Sequence[Tensor] | None = None,
        *,
        heads: Collection[str] | None = None,
        fusion: bool = True,
        deep_supervision: bool = False,
        stereo_iterations: int | None = None,
        all_iterates: bool = False,
    ) -> RangeMaskOutput:
        """All heads on a batch; the backbone sees every image once.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1], both sides multiples of
                ``config.multiple_px``, or a sequence of (3, H, W) of one size; the left images
                where there are two.
            right_images: the same of the right camera, rectified; the stereo head stays silent
                without them.
            heads: names of the heads to ask; None for all that are there.
            fusion: let the fusion head refine, if there is one: masks, and the disparity of a
                pair or else the depth.
            deep_supervision: give the answers of earlier mask blocks too, for training.
            stereo_iterations: refinements of the disparity; None for the configured number.
            all_iterates: give the disparity of every refinement, for training.

        Raises:
            InputError: images are not as stated, or a head is asked for that is not there.
        """
        wanted = self._wanted(heads)
        images = self._checked(images)
        if right_images is not None:
            right_images = self._checked(right_images, images.shape)
        size = (images.shape[-2], images.shape[-1])
        images, right = normalise(images), None
        if right_images is not None and "stereo" in wanted:
            right = normalise(right_images)
        left, right_fine = self._encode(images, right, dense=set(wanted) != {"semantic"})
        depth = stereo = masks = prompts = semantic = None
        if self.depth is not None and "depth" in wanted:
            depth = self.depth(left.pyramid[0], size)
        if self.stereo is not None and right is not None and right_fine is not None:
            stereo = self.stereo(
                images.to(self.head_dtype),
                right.to(self.head_dtype),
                left.pyramid[0],
                right_fine,
                iterations=stereo_iterations,
                all_iterates=all_iterates,
            )
        if self.masks is not None and "masks" in wanted:
            masks = self.masks(left.tokens, left.pyramid[0], deep_supervision)
        if self.prompts is not None and "prompts" in wanted:
            prompts = self.prompts.embed(left.tokens, left.pyramid[0])
        if self.semantic is not None and "semantic" in wanted:
            semantic = self.semantic(left.tokens)
        output = RangeMaskOutput(depth, stereo, masks, prompts, semantic)
        return self._fused(output, left, images) if fusion and "fusion" in wanted else output

    def encode(self, images: Tensor | Sequence[Tensor]) -> Encoded:
        """Tokens and pyramid of a batch, to ask heads by hand.

        Args:
            images: as for ``forward``.

        Raises:
            InputError: images are not as stated.
        """
        return self._encode(normalise(self._checked(images)), None, dense=True)[0]

    def predict(self, frame: StereoFrame, **options: Any) -> Scene:
        """Objects of one frame with masks, labels and distances.

        Distances are metric from a pair with its rig, or from a metric depth head; with a
        relative depth head alone they are unknown, and the scene says so.

        Args:
            frame: one image or a rectified pair.
            **options: of ``rangemask.Pipeline``, such as ``fusion=FusionConfig(...)``.

        Raises:
            InputError: nothing in the model can measure this frame.
        """
        # The front door of the student path: a scene is made on a higher floor.
        from rangemask.student import predict

        return predict(self, frame, **options)

    def save_pretrained(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write ``config.json``, ``model.safetensors`` and the model card, whole or not at all.

        Raises:
            OutputError: the folder exists and overwrite is off, or it cannot be written.
        """
        from rangemask.models.pretrained import save_pretrained

        return save_pretrained(self, folder, overwrite=overwrite)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> RangeMask:
        """Read a folder that ``save_pretrained`` wrote; nothing is downloaded.

        Raises:
            InputError: a file is missing or damaged, or does not fit the configuration.
        """
        from rangemask.models.pretrained import from_pretrained

        return from_pretrained(folder)

    def compute_in(self, dtype: torch.dtype, *, one_head_at_a_time: bool = False) -> None:
        """Let the matrix products of the backbone, and the heads, run in a precision.

        What must stay in float32 stays: norms and the residual stream of the backbone,
        disparities, depth as it leaves the model (bfloat16 would give it steps of 0.4 %), and
        what ``blocks.KEPT`` names.
        """
        compute_in(self, dtype, one_head_at_a_time=one_head_at_a_time)
        for name, part in self.named_children():
            if name != "backbone":
                cast(part, dtype)

    def _wanted(self, heads: Collection[str] | None) -> Collection[str]:
        if heads is None:
            return self.config.heads
        if isinstance(heads, str):
            raise InputError(f"heads must be names, such as [{heads!r}], got {heads!r}.")
        missing = sorted(set(heads) - set(self.config.heads))
        if missing:
            raise InputError(
                f"this model has no head {', '.join(missing)}; it has "
                f"{', '.join(self.config.heads)}."
            )
        return heads

    def _checked(
        self, images: Tensor | Sequence[Tensor], shape: torch.Size | None = None
    ) -> Tensor:
        """A batch of a shape that the network takes; of a given one if there is one."""
        batch = check_images(images)
        if shape is not None and batch.shape != shape:
            raise InputError(
                f"left and right images must have one shape, got {tuple(shape)} and "
                f"{tuple(batch.shape)}."
            )
        multiple = self.config.multiple_px
        if batch.shape[-2] % multiple or batch.shape[-1] % multiple:
            raise InputError(
                f"images must be multiples of {multiple} px, got {batch.shape[-2]} x "
                f"{batch.shape[-1]}."
            )
        return batch

    def _encode(
        self, images: Tensor, right: Tensor | None, *, dense: bool
    ) -> tuple[Encoded, Tensor | None]:
        """The left images, with the pyramid if dense, and the finest level of the right ones."""
        scale = 1.0 if self.stereo is None else self.stereo.config.right_scale
        if right is None:
            return self._encode_batch(images, dense=dense), None
        if scale == 1:
            both = self._encode_batch(torch.cat([images, right]), dense=True)
            left = Encoded(
                tuple(level.chunk(2)[0] for level in both.tokens),
                tuple(level.chunk(2)[0] for level in both.pyramid),
            )
            return left, both.pyramid[0].chunk(2)[1]
        # Centres of pixels stay in place, as the stereo head takes it when it enlarges again.
        size = self.right_size((right.shape[-2], right.shape[-1]))
        small = F.interpolate(right, size=size, mode="bilinear", antialias=True)
        smaller = self._encode_batch(small, dense=True)
        return self._encode_batch(images, dense=True), smaller.pyramid[0]

    def _encode_batch(self, images: Tensor, *, dense: bool) -> Encoded:
        features = self.backbone.forward_features(images)
        tokens = tuple(level.to(self.head_dtype) for level in features.tokens)
        return Encoded(tokens, self.pyramid(tokens) if dense and self.pyramid else ())

    def _fused(self, output: RangeMaskOutput, left: Encoded, images: Tensor) -> RangeMaskOutput:
        if self.fusion is None or (output.depth, output.stereo, output.masks) == (None,) * 3:
            return output
        found, stereo = output.masks, output.stereo
        farthest_m = None if self.config.depth is None else self.config.depth.max_depth_m
        fused = self.fusion(
            left.pyramid[0],
            images,
            map_=output.depth if stereo is None else stereo.disparity_px,
            grows_away=stereo is None and farthest_m is not None,
            presence=None if found is None else presence_of(found.class_logits, found.mask_logits),
            mask_features=None if found is None else found.mask_features,
        )
        if found is not None and fused.mask_features is not None:
            found = found._replace(
                mask_features=fused.mask_features,
                mask_logits=masks_of(found.query_embeddings, fused.mask_features),
            )
        if stereo is None:
            depth = fused.map
            if depth is not None and farthest_m is not None:
                depth = depth.clamp(max=farthest_m)
            return output._replace(depth=depth, masks=found)
        return output._replace(stereo=stereo._replace(disparity_px=fused.map), masks=found)


def build_rangemask(config: RangeMaskConfig, card: ModelCard | None = None) -> RangeMask:
    """A student with random weights.

    Args:
        config: what it is made of.
        card: where its weights will come from.
    """
    backbone = build_backbone(config.backbone)
    size, _ = parse_name(config.backbone)
    needs_pyramid = set(config.heads) != {"semantic"}
    pyramid = Pyramid(backbone.width, DPT_SIZES[size]) if needs_pyramid else None
    channels = DPT_SIZES[size].fused
    c = config
    return RangeMask(
        config,
        backbone=backbone,
        pyramid=pyramid,
        depth=None if c.depth is None else DepthHead(c.depth, channels),
        stereo=None if c.stereo is None else StereoHead(c.stereo, channels),
        masks=None if c.masks is None else AutomaticMaskHead(c.masks, backbone.width, channels),
        prompts=None if c.prompts is None else PromptHead(c.prompts, backbone.width, channels),
        semantic=None if c.semantic is None else SemanticHead(c.semantic, backbone.width),
        fusion=None
        if c.fusion is None
        else FusionHead(
            c.fusion,
            channels,
            mask_width=None if c.masks is None else c.masks.mask_width,
            refines_map=c.depth is not None or c.stereo is not None,
        ),
        card=card,
    )
