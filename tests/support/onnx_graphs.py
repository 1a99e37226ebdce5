"""Tiny ONNX graphs whose answers are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR = 17, 8
Dims = Sequence[int | str]
FIXED: Dims = (1, 3, 48, 64)
OPEN: Dims = (1, 3, "height", "width")


def save_graph(
    path: Path,
    nodes: Sequence[Any],
    *,
    inputs: Sequence[str] = ("left", "right"),
    outputs: Sequence[str] = ("disparity",),
    shape: Dims = FIXED,
    out: Dims | None = None,
    kind: int = TensorProto.FLOAT,
    constants: dict[str, Any] | None = None,
    opset: int = OPSET,
    ir: int = IR,
    **saving: Any,
) -> Path:
    """A graph of nodes on disk."""
    given = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    size = (1, 1, *shape[2:]) if out is None else out
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name in outputs]
    held = [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "net", given, made, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir
    onnx.save(model, path, **saving)
    return path


def difference_graph(path: Path, *, swapped: bool = False, **changes: Any) -> Path:
    """Mean over channels of left minus right: it tells which image is which."""
    first, second = ("right", "left") if swapped else ("left", "right")
    names = changes.pop("names", {"left": "left", "right": "right"})
    nodes = [
        helper.make_node("Sub", [names[first], names[second]], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["disparity"], axes=[1], keepdims=1),
    ]
    return save_graph(path, nodes, inputs=tuple(names.values()), **changes)


def constant_graph(path: Path, value_px: float, **changes: Any) -> Path:
    """The same disparity everywhere, whatever is seen; 0 * left keeps the input's shape."""
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["seen"]),
        helper.make_node("ReduceMean", ["seen"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "value"], ["disparity"]),
    ]
    constants = {"nothing": np.float32(0), "value": np.float32(value_px)}
    return save_graph(path, nodes, constants=constants, **changes)


def channel_graph(path: Path, channel: int, **changes: Any) -> Path:
    """One channel of the left image as it is given; the right one does not count."""
    nodes = [
        helper.make_node("Mul", ["right", "nothing"], ["unseen"]),
        helper.make_node("Add", ["left", "unseen"], ["seen"]),
        helper.make_node("Gather", ["seen", "channel"], ["disparity"], axis=1),
    ]
    constants = {"nothing": np.float32(0), "channel": np.array([channel], np.int64)}
    return save_graph(path, nodes, constants=constants, **changes)
