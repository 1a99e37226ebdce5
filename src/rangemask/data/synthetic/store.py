"""Rendered scenes as a label store whose labels are the exact truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.data.store import FrameLabels, FrameRecord, LabelStore, Recipe
from rangemask.data.store.files import encode, encode_image
from rangemask.data.synthetic.generate import SCENE_KINDS, SceneKind, random_scene
from rangemask.data.synthetic.render import SyntheticSample, render
from rangemask.data.synthetic.scene import CLASS_NAMES
from rangemask.data.synthetic.sensor import SensorConfig
from rangemask.geometry import Rig
from rangemask.structures import MaskSet, Passport

TRUTH = Passport(
    role="truth",
    model="rangemask synthetic scenes",
    licence="Apache-2.0",
    licence_class="commercial-ok",
)
_LEAST_PX = 20


def write_synthetic(
    root: str | Path,
    seeds: Iterable[int],
    rig: Rig,
    *,
    kinds: Sequence[SceneKind] = SCENE_KINDS,
    sensor: SensorConfig | None = None,
) -> LabelStore:
    """Render one frame per seed into a label store; each frame is a recording of its own.

    Args:
        root: folder of the store.
        seeds: of the scenes; kinds take turns.
        rig: a rectified pair of known size.
        kinds: of scenes.
        sensor: noise, blur and exposure.

    Raises:
        OutputError: the folder cannot be written.
    """
    store = LabelStore(root)
    recipe = Recipe(
        kinds=("disparity", "weight", "masks", "semantic"),
        models=(TRUTH,),
        rangemask_version=__version__,
    )
    classes = CLASS_NAMES[1:]
    store.begin([recipe], classes=classes, rig="rig.yaml", min_quality=0.0)
    with atomic_file(store.root / "rig.yaml") as staging:
        rig.save(staging)
    for seed in seeds:
        name = f"scene{seed:05}"
        kind = kinds[seed % len(kinds)]
        sample = render(random_scene(seed, kind=kind), rig, seed=seed, sensor=sensor, name=name)
        _write(store, sample, recipe, classes)
    store.finish()
    return store


def labels_of(sample: SyntheticSample) -> FrameLabels:
    """The exact truth of a rendered frame; objects of which hardly a pixel is seen are left out."""
    masks = sample.masks()
    seen = [index for index, mask in enumerate(masks) if mask.sum() >= _LEAST_PX]
    found = MaskSet(sample.frame.height, sample.frame.width)
    if seen:
        names = [sample.objects[index].name for index in seen]
        found = MaskSet.from_dense(masks[seen], labels=names)
    disparity = sample.disparity
    weight = None if disparity is None else np.isfinite(disparity).astype(np.float32)
    return FrameLabels(disparity=disparity, weight=weight, masks=found, semantic=sample.semantic)


def _write(
    store: LabelStore, sample: SyntheticSample, recipe: Recipe, classes: Sequence[str]
) -> None:
    frame, name = sample.frame, sample.frame.name
    images = {"left": store.write_image("left", name, encode_image(frame.left))}
    if frame.right is not None:
        images["right"] = store.write_image("right", name, encode_image(frame.right))
    files = encode(labels_of(sample), images["left"].path, classes, "npy")
    store.commit(
        FrameRecord(
            name=name,
            status="labelled",
            sequence=name,
            width=frame.width,
            height=frame.height,
            images=images,
            files=store.write_labels(name, files, dict.fromkeys(files, recipe.key)),
        )
    )
