"""Pseudo-labels: teachers look at thousands of frames, and what they say is kept with its trust."""

from __future__ import annotations

from rangemask.labels.config import LabelConfig
from rangemask.labels.run import LabelReport, RunOptions, label_dataset
from rangemask.labels.trust import TrustConfig

__all__ = ["LabelConfig", "LabelReport", "RunOptions", "TrustConfig", "label_dataset"]
