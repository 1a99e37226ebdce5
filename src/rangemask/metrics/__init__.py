"""Numbers from arrays: errors of disparity, depth, masks and classes; docs/metrics.md."""

from rangemask.metrics.confidence import Sparsification, sparsification
from rangemask.metrics.depth import DepthMetrics, depth_metrics
from rangemask.metrics.disparity import DisparityMetrics, disparity_metrics
from rangemask.metrics.masks import (
    AveragePrecision,
    MaskHits,
    MaskMetrics,
    RankedHits,
    average_precision,
    boundary_f,
    iou_matrix,
    mask_hits,
    mask_iou,
    mask_metrics,
)
from rangemask.metrics.semantic import SemanticMetrics, semantic_metrics

__all__ = [
    "AveragePrecision",
    "DepthMetrics",
    "DisparityMetrics",
    "MaskHits",
    "MaskMetrics",
    "RankedHits",
    "SemanticMetrics",
    "Sparsification",
    "average_precision",
    "boundary_f",
    "depth_metrics",
    "disparity_metrics",
    "iou_matrix",
    "mask_hits",
    "mask_iou",
    "mask_metrics",
    "semantic_metrics",
    "sparsification",
]
