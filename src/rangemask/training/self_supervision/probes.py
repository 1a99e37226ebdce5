"""What features are good for, as numbers without training: probes, likeness, richness."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 20
"""Of the k-NN probe, and its temperature: DINO's."""
TEMPERATURE = 0.07
RIDGE = 1e-2
"""Of the linear probe, as a share of the number of rows."""


def balanced_accuracy(found: Tensor, truth: Tensor) -> float:
    """Mean over the classes of ``truth`` of the share that is found right, in [0, 1]."""
    classes, index = truth.unique(return_inverse=True)
    right = torch.zeros(len(classes)).index_add_(0, index, (found == truth).float())
    return float((right / index.bincount(minlength=len(classes))).mean())


def knn_probe(known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor) -> float:
    """Balanced accuracy of a vote of the nearest (DINO, arXiv 2104.14294, section 4.1).

    Args:
        known: (N, C) features whose labels are known.
        labels: (N,) int64.
        asked: (M, C).
        truth: (M,) int64.
    """
    classes, index = labels.unique(return_inverse=True)
    alike = F.normalize(asked, dim=-1) @ F.normalize(known, dim=-1).T
    closeness, nearest = alike.topk(min(NEIGHBOURS, len(known)), dim=1)
    votes = torch.zeros(len(asked), len(classes))
    # Rare classes would never win a vote by count.
    weight = (closeness / TEMPERATURE).exp() / index.bincount()[index[nearest]]
    votes.scatter_add_(1, index[nearest], weight)
    return balanced_accuracy(classes[votes.argmax(1)], truth)


def linear_probe(known: Tensor, labels: Tensor, asked: Tensor, truth: Tensor) -> float:
    """Balanced accuracy of ridge regression onto classes, in closed form.

    Args:
        known: (N, C) features whose labels are known.
        labels: (N,) int64.
        asked: (M, C).
        truth: (M,) int64.
    """
    classes, index = labels.unique(return_inverse=True)
    mean, deviation = known.mean(0), known.std(0).clamp(min=1e-6)
    # float64: features of a collapsed backbone make near-singular systems.
    rows = _with_one((known - mean) / deviation)
    weight = (1 / index.bincount()[index]).double()
    weight = weight * len(rows) / weight.sum()
    gram = (rows * weight[:, None]).T @ rows
    gram.diagonal().add_(RIDGE * len(rows))
    wanted = F.one_hot(index, len(classes)).double()
    solved = torch.linalg.solve(gram, (rows * weight[:, None]).T @ wanted)
    scores = _with_one((asked - mean) / deviation) @ solved
    return balanced_accuracy(classes[scores.argmax(1)], truth)


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Likeness of two descriptions of the same rows, in [0, 1] (arXiv 1905.00414, section 3).

    Blind to rotation and scale, which a new head would undo.

    Args:
        first: (N, C).
        second: (N, D).
    """
    first, second = (_centred(features) for features in (first, second))
    shared = (first.T @ second).square().sum()
    own = (first.T @ first).norm() * (second.T @ second).norm()
    return float(shared / own) if own > 0 else 0.0


def effective_rank(features: Tensor) -> float:
    """Directions that unit vectors (N, C) use: exp of the entropy of their variances."""
    centred = _centred(F.normalize(features, dim=-1))
    variances = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    total = variances.sum()
    return float(torch.special.entr(variances / total).sum().exp()) if total > 1e-12 else 1.0


def nearest(asked: Tensor, kept: Tensor) -> Tensor:
    """Per row of (N, C), which of (M, C) is nearest by angle: (N,) int64."""
    return (F.normalize(asked, dim=-1) @ F.normalize(kept, dim=-1).T).argmax(1)


def cosine_distance(first: Tensor, second: Tensor) -> float:
    """Mean of 1 - cosine over rows (..., C)."""
    first, second = first.double(), second.double()
    return float((1 - F.cosine_similarity(first, second, dim=-1)).mean().clamp(min=0))


def _centred(features: Tensor) -> Tensor:
    features = features.double()
    return features - features.mean(0)


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features.double(), features.new_ones(len(features), 1).double()], dim=1)
