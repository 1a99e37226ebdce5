"""Stereo matcher ``onnx``: any exported stereo network on frames."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rangemask.backends.options import check_aspect
from rangemask.backends.stereo.onnx.contract import agree
from rangemask.backends.stereo.onnx.fitting import Place, from_output, place_pair, to_input
from rangemask.backends.stereo.onnx.session import Network
from rangemask.backends.stereo.onnx.sidecar import Sidecar
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.structures import Passport, StereoFrame, StereoMatch

logger = logging.getLogger(__name__)

_WRONG_SIGN_PX = -1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class OnnxOptions:
    """Options of ``onnx``.

    Raises:
        InputError: there is not one thread.
    """

    sidecar: str | None = None
    """Another file than ``net.yaml`` beside ``net.onnx``."""
    threads: int | None = None
    """Of the CPU; None for all cores."""

    def __post_init__(self) -> None:
        if self.threads is not None and (
            isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1
        ):
            raise InputError(f"threads must be 1 or more, got {self.threads!r}.")


class OnnxMatcher:
    """Disparity of a rectified pair.

    Args:
        network: opened.
        passport: what it is.
        sidecar: how it is called; None for what its graph says and for defaults, of which the log
            tells.

    Raises:
        InputError: graph and sidecar do not fit, or the graph is no stereo network.
    """

    def __init__(
        self, network: Network, passport: Passport, sidecar: Sidecar | None = None
    ) -> None:
        self.network = network
        self.contract = agree(network, sidecar)
        self.sidecar = sidecar if sidecar is not None else Sidecar()
        self._passport = passport
        self._said: set[str] = set()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self._passport

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        """Match one frame.

        Nothing is filled: the network states a disparity everywhere. Where it is not positive or
        no number, it is unknown; where the match would lie outside the right image, a pixel
        counts as occluded. The confidence is what the network states, if it states one, and 1
        otherwise: such networks do not say where they are unsure.

        Raises:
            InputError: the frame has no right image, is a strip or too small, or the network's
                answer is no disparity of it.
            OutOfMemoryError: memory ran out.
        """
        if frame.right is None:
            raise InputError(
                f"{frame.name}: a stereo matcher needs a right image. Give it, or use a depth "
                "model instead."
            )
        check_aspect(frame.height, frame.width)
        try:
            place = place_pair(self.contract.size, self.contract.fixed, frame.height, frame.width)
        except InputError as error:
            raise InputError(f"{frame.name}: {error}") from error
        self._say_if_enlarged(frame, place)
        found, confidence = self.infer(frame.left, frame.right, place)
        scale = self.sidecar.output.scale * frame.width / place.content_width
        if self.sidecar.output.unit == "width":
            scale *= place.width
        disparity = from_output(found, place, frame.height, frame.width) * np.float32(scale)
        return self._judged(frame, disparity, self._confidence(confidence, place, frame))

    def infer(
        self, left: ImageArray, right: ImageArray, place: Place
    ) -> tuple[FloatMap, FloatMap | None]:
        """What the network says, as it says it: disparity and, if it gives one, confidence.

        Args:
            left: (H, W, 3) uint8 RGB.
            right: the same.
            place: where the pair lies in the network's input.

        Returns:
            (place.height, place.width) float32 each.

        Raises:
            InputError: an output is of another shape, or not one pixel of it is a number.
        """
        contract, inputs = self.contract, self.sidecar.inputs
        given = {
            name: to_input(image, place, inputs, contract.size, contract.dtype)
            for name, image in ((contract.left, left), (contract.right, right))
        }
        wanted = [contract.disparity]
        wanted += [] if contract.confidence is None else [contract.confidence]
        maps = [
            self._as_map(name, values, place)
            for name, values in zip(wanted, self.network.run(wanted, given), strict=True)
        ]
        return maps[0], maps[1] if len(maps) > 1 else None

    def _as_map(self, name: str, values: NDArray[Any], place: Place) -> FloatMap:
        size = (place.height, place.width)
        shape = np.shape(values)
        if tuple(n for n in shape if n != 1) != tuple(n for n in size if n != 1):
            raise InputError(
                f"{self.network.path}: its output {name!r} is {' x '.join(map(str, shape))}; one "
                f"number per pixel of its input was expected, {size[0]} x {size[1]}. Is it the "
                "disparity at full size?"
            )
        try:
            found = np.asarray(values).reshape(size).astype(np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.network.path}: its output {name!r} are no numbers.") from error
        known = np.isfinite(found)
        if not known.any():
            raise InputError(
                f"{self.network.path}: its output {name!r} holds not one finite number. A float16 "
                "export overflows so; export it in float32, and check white, mean and std of its "
                "sidecar."
            )
        if not known.all():
            share = 1 - float(known.mean())
            self._warn_once("finite", f"{share:.1%} of {name!r} are no finite numbers: unknown")
        return np.where(known, found, np.float32(np.nan))

    def _judged(self, frame: StereoFrame, disparity: FloatMap, confidence: FloatMap) -> StereoMatch:
        known = disparity[np.isfinite(disparity)]
        middle = float(np.median(known)) if known.size else 0.0
        if middle < _WRONG_SIGN_PX:
            raise InputError(
                f"{frame.name}: the median disparity of {self.network.path.name} is {middle:.1f} "
                "px, and disparities are positive. If the network gives a flow, say `scale: -1` "
                "under `output` in its sidecar; if not, left and right are swapped, there or in "
                "the pair."
            )
        disparity = np.where(disparity > 0, disparity, np.float32(np.nan))
        confidence[np.isnan(disparity)] = 0
        return StereoMatch(
            disparity=disparity,
            confidence=confidence,
            occluded=np.arange(frame.width, dtype=np.float32) - disparity < 0,
            filled=np.zeros(disparity.shape, dtype=bool),
        )

    @staticmethod
    def _confidence(found: FloatMap | None, place: Place, frame: StereoFrame) -> FloatMap:
        if found is None:
            return np.ones((frame.height, frame.width), dtype=np.float32)
        full = from_output(found, place, frame.height, frame.width)
        return np.clip(np.nan_to_num(full), 0, 1)

    def _say_if_enlarged(self, frame: StereoFrame, place: Place) -> None:
        if place.content_height > frame.height and place.content_width > frame.width:
            self._warn_once(
                "enlarged",
                f"{frame.name} is {frame.width} x {frame.height} px and enlarged to "
                f"{place.content_width} x {place.content_height}: slow, and no more exact",
            )

    def _warn_once(self, key: str, words: str) -> None:
        if key not in self._said:
            self._said.add(key)
            logger.warning("onnx: %s: %s", self.network.path.name, words)
