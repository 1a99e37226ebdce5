"""Rigs for hypothesis: rectified ones, and raw ones a few degrees off with real lenses."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import strategies as st

from rangemask.geometry import Camera, Rig
from rangemask.geometry.rig import rows

LENSES = (0, 4, 5, 8, 12, 14, "fisheye")


@st.composite
def raw_cameras(draw: st.DrawFn, size: tuple[int, int] = (640, 480), lens: int | str = 5) -> Camera:
    """A camera whose lens model does not fold within its image."""
    width, height = size
    small = st.floats(-1e-3, 1e-3)
    fisheye = lens == "fisheye"
    if fisheye:
        distortion = [draw(st.floats(-0.02, 0.02)) for _ in range(4)]
    else:
        k1, k2, k3 = draw(st.floats(-0.25, 0.1)), draw(st.floats(0, 0.08)), draw(st.floats(0, 0.01))
        # The rational model's numerator and denominator nearly cancel, as calibrations do.
        k4, k5, k6 = (draw(st.floats(0, 0.1)) for _ in range(3))
        terms = [k1, k2, draw(small), draw(small), k3, k4, k5, k6]
        terms += [draw(small) for _ in range(4)] + [draw(st.floats(-0.01, 0.01)) for _ in range(2)]
        distortion = terms[: int(lens)]
    # A fisheye of 230 px per radian sees 150 degrees over 600 px.
    focal_px = draw(st.floats(0.35, 0.6) if fisheye else st.floats(0.8, 2.0)) * width
    return Camera(
        fx=focal_px,
        fy=focal_px * draw(st.floats(0.98, 1.02)),
        cx=width / 2 + draw(st.floats(-15, 15)),
        cy=height / 2 + draw(st.floats(-15, 15)),
        width=width,
        height=height,
        model="fisheye" if fisheye else "pinhole",
        distortion=tuple(distortion),
    )


@st.composite
def raw_rigs(draw: st.DrawFn, lenses: tuple[int | str, ...] = LENSES) -> Rig:
    """Two cameras turned by up to some five degrees, the right one truly on the right."""
    lens = draw(st.sampled_from(lenses))
    turn = np.array([draw(st.floats(-0.05, 0.05)) for _ in range(3)])
    baseline_m = draw(st.floats(0.02, 1.0))
    aside = [draw(st.floats(-0.1, 0.1)) * baseline_m for _ in range(2)]
    return Rig(
        left=draw(raw_cameras(lens=lens)),
        right=draw(raw_cameras(lens=lens)),
        rotation=rows(cv2.Rodrigues(turn)[0]),
        translation_m=(-baseline_m, *aside),
    )


@st.composite
def rectified_rigs(
    draw: st.DrawFn, *, doffs: bool = True, sized: bool | None = None, square: bool = False
) -> Rig:
    """Straight pairs; without ``sized`` half of them do not know their image size."""
    known = draw(st.booleans()) if sized is None else sized
    width, height = draw(st.integers(2, 4000)), draw(st.integers(2, 3000))
    fx = draw(st.floats(1, 5000))
    return Rig.rectified(
        fx=fx,
        fy=fx if square else fx * draw(st.floats(0.9, 1.1)),
        cx=draw(st.floats(-10, width + 10)),
        cy=draw(st.floats(-10, height + 10)),
        baseline_m=draw(st.floats(0.001, 10.0)),
        width=width if known else None,
        height=height if known else None,
        doffs_px=draw(st.floats(-50, 200)) if doffs else 0.0,
    )


def assert_same_rig(found: Rig, expected: Rig) -> None:
    """Equal but for rounding; missing trailing distortion terms are zeros."""
    assert (found.right is None) == (expected.right is None)
    pairs = [(found.left, expected.left)]
    if found.right is not None and expected.right is not None:
        pairs.append((found.right, expected.right))
    for a, b in pairs:
        assert (a.size, a.model) == (b.size, b.model)
        np.testing.assert_allclose(
            (a.fx, a.fy, a.cx, a.cy), (b.fx, b.fy, b.cx, b.cy), rtol=1e-9, atol=1e-6
        )
        np.testing.assert_allclose(_padded(a), _padded(b), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.rotation, expected.rotation, atol=1e-9)
    np.testing.assert_allclose(found.translation_m, expected.translation_m, rtol=1e-9, atol=1e-9)


def _padded(camera: Camera) -> tuple[float, ...]:
    return camera.distortion + (0.0,) * (14 - len(camera.distortion))
