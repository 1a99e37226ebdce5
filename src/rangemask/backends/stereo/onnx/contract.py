"""Graph and sidecar together: which input is which, of what size, and what comes out."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rangemask.backends.stereo.onnx.session import DTYPES, Network, Port
from rangemask.backends.stereo.onnx.sidecar import (
    Sidecar,
    SizeSettings,
    sidecar_beside,
    template,
)
from rangemask.errors import InputError

logger = logging.getLogger(__name__)

_IMAGES = 2
_RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """How a network is to be called."""

    left: str
    right: str
    dtype: Any
    """NumPy type of the inputs."""
    fixed: tuple[int | None, int | None]
    """Height and width of the inputs, None where they are open."""
    size: SizeSettings
    """With ``fit`` decided."""
    disparity: str
    confidence: str | None


def agree(network: Network, sidecar: Sidecar | None) -> Contract:
    """What graph and sidecar say together.

    Without a sidecar its defaults are taken, and the log says which.

    Args:
        network: opened.
        sidecar: None where there is none.

    Raises:
        InputError: they contradict each other, the graph is no stereo network of two images, or
            it cannot be told which input is the left one.
    """
    said = sidecar if sidecar is not None else Sidecar()
    if len(network.inputs) != _IMAGES:
        raise InputError(
            f"{network.path}: a stereo network takes two images, and this takes "
            f"{len(network.inputs)} inputs: {_listed(network.inputs)}. Export it with two; other "
            "inputs must become constants."
        )
    left, right = _sides(network, said)
    dtype = _type_of(network, left, right, said)
    fixed = _sizes(network, left, right, said)
    fit = said.size.fit
    if fit == "auto":
        fit = "resize" if None not in fixed else "pad"
    contract = Contract(
        left=left.name,
        right=right.name,
        dtype=dtype,
        fixed=fixed,
        size=replace(said.size, fit=fit),
        disparity=_output(network, said.output.disparity, "disparity"),
        confidence=None
        if said.output.confidence is None
        else _output(network, said.output.confidence, "confidence"),
    )
    if sidecar is None:
        _say_what_is_taken(network, contract)
    return contract


def _listed(ports: Sequence[Port]) -> str:
    return ", ".join(map(str, ports))


def _sides(network: Network, said: Sidecar) -> tuple[Port, Port]:
    by_name = {port.name: port for port in network.inputs}
    named = (said.inputs.left, said.inputs.right)
    for side, name in zip(("left", "right"), named, strict=True):
        if name is not None and name not in by_name:
            raise InputError(
                f"{network.path}: has no input {name!r}, which its sidecar calls the {side} one; "
                f"it has {_listed(network.inputs)}."
            )
    first, second = network.inputs
    if named != (None, None):
        if named[0] is not None:
            left = by_name[named[0]]
            return left, second if left is first else first
        right = by_name[str(named[1])]
        return (second if right is first else first), right
    sides = [_side(first.name), _side(second.name)]
    if sides == ["left", "right"]:
        return first, second
    if sides == ["right", "left"]:
        return second, first
    names = [port.name for port in network.inputs]
    raise InputError(
        f"{network.path}: which of its inputs {names[0]!r} and {names[1]!r} is the left image "
        f"cannot be told from their names. Write {sidecar_beside(network.path)} and check every "
        f"line of it:\n{template(names, [port.name for port in network.outputs])}"
    )


def _side(name: str) -> str | None:
    found = {side for side in ("left", "right") if re.search(side, name, re.IGNORECASE)}
    return found.pop() if len(found) == 1 else None


def _type_of(network: Network, left: Port, right: Port, said: Sidecar) -> Any:
    if left.kind != right.kind or left.kind not in DTYPES:
        raise InputError(
            f"{network.path}: images are given as one of {', '.join(DTYPES)}, both alike; the "
            f"network takes {_listed((left, right))}."
        )
    if left.kind == "tensor(uint8)" and not said.inputs.plain:
        raise InputError(
            f"{network.path}: takes pixels as bytes, so that white, mean and std of its sidecar "
            "have no place; leave them out."
        )
    return np.dtype(DTYPES[left.kind])


def _sizes(
    network: Network, left: Port, right: Port, said: Sidecar
) -> tuple[int | None, int | None]:
    if left.shape != right.shape or len(left.shape) != _RANK:
        raise InputError(
            f"{network.path}: two images of one shape, batch x channels x height x width in the "
            f"order of inputs.layout, are expected; the network takes {_listed((left, right))}."
        )
    batch, *rest = left.shape
    channels = rest.pop(0 if said.inputs.layout == "nchw" else -1)
    if batch not in {None, 1}:
        raise InputError(f"{network.path}: takes batches of {batch}; export it for one pair.")
    if channels not in {None, said.inputs.count}:
        raise InputError(
            f"{network.path}: {left} would have {channels} channels, and "
            f"{said.inputs.channels} images have {said.inputs.count}. Say inputs.channels (rgb, "
            f"bgr, grey) and inputs.layout (nchw, nhwc) in {sidecar_beside(network.path).name}."
        )
    asked = (said.size.height, said.size.width)
    for what, inner, outer in zip(("height", "width"), rest, asked, strict=True):
        if None not in {inner, outer} and inner != outer:
            raise InputError(
                f"{network.path}: its {what} is {inner}, and size.{what} of its sidecar {outer}. "
                "Leave that out."
            )
    height, width = (outer if inner is None else inner for inner, outer in zip(rest, asked))  # noqa: B905
    return height, width


def _output(network: Network, name: str | None, what: str) -> str:
    names = [port.name for port in network.outputs]
    if name is None and len(names) == 1:
        return names[0]
    if name is None:
        raise InputError(
            f"{network.path}: has {len(names)} outputs ({_listed(network.outputs)}), and one must "
            f"be the disparity: say output.disparity in {sidecar_beside(network.path)}."
        )
    if name not in names:
        raise InputError(
            f"{network.path}: has no output {name!r}, which its sidecar calls the {what}; it has "
            f"{_listed(network.outputs)}."
        )
    return name


def _say_what_is_taken(network: Network, contract: Contract) -> None:
    names = [contract.left, contract.right]
    logger.warning(
        "onnx: there is no %s, so this is taken for granted: %r is the left image, RGB, 0 to 255, "
        "not normalised; %s; %r is the disparity in px, positive; the licence is unknown. If the "
        "network was trained otherwise, its answers are wrong: write that file, such as\n%s",
        sidecar_beside(network.path),
        contract.left,
        _size_words(contract),
        contract.disparity,
        template(names, [contract.disparity]),
    )


def _size_words(contract: Contract) -> str:
    height, width = contract.fixed
    if height is not None and width is not None:
        return f"pairs are resized to {width} x {height} px"
    return f"pairs are padded to multiples of {contract.size.multiple} px on all sides"
