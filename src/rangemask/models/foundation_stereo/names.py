"""Entries of the published files to those of the network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.backbone_weights import backbone_prefix
from rangemask.models.depth_anything import canonical_depth_anything
from rangemask.models.foundation_stereo.config import VARIANTS
from rangemask.models.presets import VIT_SIZES
from rangemask.models.recognise import PATCH_EMBEDDINGS, Shapes, describe

DENSE = "feature.dino."
"""Where the Depth Anything branch lies, here and there."""
_THEIR_DENSE = f"{DENSE}depth_anything."
_UNUSED = ("context_zqr_convs.", "stem_4.", "cnet.down.", "cnet.norm.")
"""Parts that the published files hold and no result depends on."""
_ALIAS = ".norm3."
"""Another name of ``downsample.1``, which is the one in force."""
_COUNT = ".num_batches_tracked"
"""Of batch norms; counts nothing that matters for what is computed."""


def variant_of(shapes: Shapes) -> str | None:
    """``small`` or ``large``, or another size of vision transformer; None where there is none."""
    entry = next((n for n in shapes if n.startswith(DENSE) and n.endswith(PATCH_EMBEDDINGS)), None)
    if entry is None or len(shapes[entry]) != 4:
        return None
    width = shapes[entry][0]
    return next((name for name, size in VIT_SIZES.items() if size.width == width), None)


def check_kind(shapes: Shapes, source: object) -> str:
    """The size of the vision transformer of a file of FoundationStereo.

    Raises:
        InputError: the file is of something else, or of an unknown size.
    """
    found = variant_of(shapes)
    if found is None or not any(name.startswith("cost_agg.") for name in shapes):
        known = " and ".join(f"ViT-{size[0].upper()}" for size in VARIANTS.values())
        raise InputError(
            f"{source}: these are not the weights of FoundationStereo ({known}); the file looks "
            f"like {describe(shapes)}."
        )
    return found


def canonical_foundation_stereo(
    weights: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Weights by the names used here, from the authors' file or ours.

    Names that are none of theirs pass unchanged, so that loading strictly names them. What
    published files hold and nothing uses is left out by name. Counters of batch norms may be
    missing.

    """
    weights = {name.removeprefix("module."): value for name, value in weights.items()}
    theirs = {
        name.removeprefix(_THEIR_DENSE): value
        for name, value in weights.items()
        if name.startswith(_THEIR_DENSE)
    }
    result: dict[str, Tensor] = {}
    if backbone_prefix(theirs):
        for name, value in canonical_depth_anything(theirs).items():
            # Its output layers would make depth of what is taken here before that.
            if not name.startswith(("depth.refine.", "depth.out.")):
                result[DENSE + name.removeprefix("depth.")] = value
    for name, value in weights.items():
        if name.startswith(_THEIR_DENSE) and result:
            continue
        if not name.startswith(_UNUSED) and not (name.startswith("cnet.") and _ALIAS in name):
            result[name] = value
    for name in [name for name in result if name.endswith(".running_mean")]:
        count = name.removesuffix(".running_mean") + _COUNT
        result.setdefault(count, torch.zeros((), dtype=torch.int64))
    return result
