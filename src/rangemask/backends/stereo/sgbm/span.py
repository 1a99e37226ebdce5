"""The disparities that are searched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DisparitySpan:
    """Whole disparities from ``first_px`` on, ``count`` of them."""

    first_px: int
    count: int

    @property
    def last_px(self) -> int:
        """The largest disparity of the span."""
        return self.first_px + self.count - 1
