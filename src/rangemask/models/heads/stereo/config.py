"""Options of the stereo head."""

from __future__ import annotations

from dataclasses import dataclass

from rangemask.errors import InputError

STRIDE = 4
"""Pixels of the input per cell of the volume."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StereoHeadConfig:
    """The stereo head.

    Raises:
        InputError: a number is impossible.
    """

    max_disparity_px: int = 192
    """Largest disparity of the volume at the network's input size, a multiple of 16; refinement
    may go beyond it."""
    iterations: int = 4
    """Recurrent refinements."""
    right_scale: float = 1.0
    """Resolution at which the right image goes through the backbone, relative to the left's;
    1 sends both as one batch. The stem sees both images whole."""
    stem_channels: int = 32
    """Of the convolutions that bring fine detail, a multiple of 8."""
    match_channels: int = 64
    """Of the features that are compared, a multiple of ``groups``."""
    groups: int = 8
    """Correlations per cell of the volume (GwcNet), a multiple of 4."""
    hidden_channels: int = 32
    """Of the recurrent unit, a multiple of 8."""
    radius: int = 3
    """Cells of the volume that a refinement sees on each side of its estimate."""

    def __post_init__(self) -> None:
        for name, multiple in (
            ("max_disparity_px", 16),
            ("stem_channels", 8),
            ("match_channels", self.groups),
            ("groups", 4),
            ("hidden_channels", 8),
        ):
            value = getattr(self, name)
            if value < 1 or multiple < 1 or value % multiple:
                raise InputError(f"{name} must be a positive multiple of {multiple}, got {value}.")
        if self.iterations < 0 or self.radius < 1:
            raise InputError(
                "iterations must not be negative and radius at least 1, got "
                f"{self.iterations} and {self.radius}."
            )
        if not 0 < self.right_scale <= 1:
            raise InputError(f"right_scale must be in (0, 1], got {self.right_scale}.")

    @property
    def cells(self) -> int:
        """Disparities in the volume."""
        return self.max_disparity_px // STRIDE
