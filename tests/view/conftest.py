"""Scenes to draw."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from rangemask.geometry import Rig, depth_from_disparity
from rangemask.structures import (
    Distance,
    Passport,
    Provenance,
    Rle,
    Scene,
    SceneObject,
    SemanticMap,
    StereoFrame,
)

SceneMaker = Callable[..., Scene]


def rectangle(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    x, y, w, h = box
    mask[y : y + h, x : x + w] = True
    return mask


def thing(
    identity: int, mask: np.ndarray, median: float = np.nan, label: str = "person"
) -> SceneObject:
    distance = Distance(median=median, p10=median * 0.9, p90=median * 1.1, valid_share=0.8)
    return SceneObject(
        id=identity,
        label=label,
        score=0.75,
        rle=Rle.encode(mask),
        distance=distance if np.isfinite(median) else Distance(),
        extent=(0.5, 1.7, 0.3) if np.isfinite(median) else (np.nan,) * 3,
    )


@pytest.fixture
def make_scene() -> SceneMaker:
    """A scene of a given size, with objects in given boxes at 1, 1.1, 1.2 ... m."""

    def make(
        boxes: list[tuple[int, int, int, int]],
        *,
        width: int = 320,
        height: int = 240,
        name: str = "frame",
        label: str = "person",
    ) -> Scene:
        random = np.random.default_rng(5)
        rig = Rig.rectified(
            fx=300.0, cx=width / 2, cy=height / 2, baseline_m=0.1, width=width, height=height
        )
        # Brightness away from both ends, so that no pixel has a label's colour by chance.
        left = random.integers(60, 180, (height, width, 3), dtype=np.uint8)
        disparity = np.full((height, width), 15.0, dtype=np.float32)
        disparity += np.linspace(0, 15, width, dtype=np.float32)
        disparity[: height // 4, : width // 4] = np.nan
        things = tuple(
            thing(i + 1, rectangle(width, height, box), 1 + 0.1 * i, label)
            for i, box in enumerate(boxes)
        )
        ids = random.integers(0, 3, (height, width), dtype=np.uint8)
        return Scene(
            frame=StereoFrame(left, left, rig, name),
            disparity=disparity,
            depth=depth_from_disparity(disparity, rig),
            confidence=np.where(np.isfinite(disparity), 0.5, 0).astype(np.float32),
            objects=things,
            semantic=SemanticMap(ids, ("unknown", "floor", "wall")),
            provenance=Provenance(
                rangemask_version="0.0",
                models=(
                    Passport(
                        role="stereo",
                        model="sgbm",
                        licence="Apache-2.0",
                        licence_class="commercial-ok",
                    ),
                ),
            ),
        )

    return make


@pytest.fixture
def bare() -> Callable[[Scene], Scene]:
    """The same scene without a rig, maps and semantic classes."""

    def strip(scene: Scene) -> Scene:
        frame = StereoFrame(scene.frame.left, name=scene.name)
        objects = tuple(replace(one, distance=Distance()) for one in scene.objects)
        return Scene(frame=frame, objects=objects)

    return strip
