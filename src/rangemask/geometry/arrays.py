"""Names for the arrays that travel through the program; shapes stand in the docstrings."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

ImageArray: TypeAlias = NDArray[np.uint8]
"""(H, W, 3) RGB."""

FloatMap: TypeAlias = NDArray[np.float32]
"""(H, W), NaN where unknown unless said otherwise."""

BoolMap: TypeAlias = NDArray[np.bool_]
"""(H, W), or (N, H, W) for a stack of masks."""

LabelMap: TypeAlias = NDArray[np.uint8]
"""(H, W) class ids, 0 for unknown."""

PointArray: TypeAlias = NDArray[np.float32]
"""(..., 3) metres in the left camera's frame: x right, y down, z forward."""

Matrix: TypeAlias = NDArray[np.float64]

AnyArray: TypeAlias = NDArray[Any]
