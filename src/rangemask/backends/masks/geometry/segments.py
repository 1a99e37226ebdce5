"""Maps of segment numbers on the grid: 0 for none, 1, 2, ..."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rangemask.geometry.arrays import BoolMap

Labels: TypeAlias = NDArray[np.int32]
Pair: TypeAlias = tuple[tuple[slice, slice], tuple[slice, slice]]


def neighbours(apart: int = 1) -> tuple[Pair, Pair]:
    """Views of a map that pair each pixel with the one to its right and the one below."""
    every = slice(None)
    return (
        ((every, slice(None, -apart)), (every, slice(apart, None))),
        ((slice(None, -apart), every), (slice(apart, None), every)),
    )


def label_graph(
    inside: BoolMap, first: NDArray[np.int32], second: NDArray[np.int32]
) -> tuple[Labels, int]:
    """Components of the pixels inside, joined by pairs of flat pixel numbers."""
    graph = coo_matrix((np.ones(len(first), np.bool_), (first, second)), shape=(inside.size,) * 2)
    _, component = connected_components(graph, directed=False)
    return renumber(component.reshape(inside.shape), inside)


def renumber(labels: NDArray[np.integer], inside: BoolMap) -> tuple[Labels, int]:
    """Labels as 1, 2, ... without gaps, 0 outside; and how many."""
    result = np.zeros(labels.shape, np.int32)
    values, dense = np.unique(labels[inside], return_inverse=True)
    result[inside] = dense + 1
    return result, len(values)
