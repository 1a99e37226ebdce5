"""Which teachers label, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from rangemask.data.store.files import MAP_FORMATS, MapFormat
from rangemask.errors import InputError
from rangemask.labels.trust import TrustConfig

LookBack: TypeAlias = Literal["auto", "on", "off"]
LOOK_BACKS: tuple[LookBack, ...] = get_args(LookBack)


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelConfig:
    """Teachers by name, so that any process can load them.

    Raises:
        InputError: there is no teacher, or an option is impossible or of no use.
    """

    stereo: str | None = "sgbm"
    """Matcher of pairs; makes disparity, confidence and weight."""
    second_stereo: str | None = None
    """Another matcher, whose agreement becomes part of the weight."""
    depth: str | None = None
    """Monocular depth model; makes depth, and is what ``geometry`` sees of single images."""
    masks: str | None = "geometry"
    """Segmenter; makes masks and, where it knows classes per pixel or labels are given, a
    semantic map."""
    labels: tuple[str, ...] | None = None
    """What to look for; a class each, with "background" for the rest of the semantic map."""
    left_right: LookBack = "auto"
    """Whether the pair is matched in a mirror as well, which takes as long again. auto: for
    matchers that do not compare both views themselves."""
    maps: MapFormat = "png"
    """How disparity and metric depth are written."""
    stereo_options: Mapping[str, Any] = field(default_factory=dict)
    mask_options: Mapping[str, Any] = field(default_factory=dict)
    trust: TrustConfig = field(default_factory=TrustConfig)
    device: str = "auto"
    precision: str = "auto"
    memory_budget: str | None = None
    """Of a CUDA device, such as 6GB: teachers that do not fit together take turns."""
    field_of_view: float = 0.0
    """Of rectified images, for rigs that are not rectified, as in ``Pipeline``."""

    def __post_init__(self) -> None:
        if self.stereo is None and self.depth is None and self.masks is None:
            raise InputError(
                "labelling needs a teacher: a stereo matcher, a depth model or a segmenter "
                "(--stereo, --depth, --masks)."
            )
        if self.second_stereo is not None and self.stereo is None:
            raise InputError("a second matcher has nothing to agree with: give a stereo matcher.")
        if self.labels is not None and self.masks is None:
            raise InputError("labels are for a segmenter, and there is none (--masks).")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise InputError(f"each label once, got {', '.join(self.labels)}.")
        if self.left_right not in LOOK_BACKS:
            raise InputError(
                f"left_right must be one of {', '.join(LOOK_BACKS)}, got {self.left_right!r}."
            )
        if self.maps not in MAP_FORMATS:
            raise InputError(f"maps must be one of {', '.join(MAP_FORMATS)}, got {self.maps!r}.")
