"""A small rendered data set, and models that know its truth or miss it by a known amount."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rangemask.data.readers import open_dataset
from rangemask.data.sample import Dataset, Sample
from rangemask.data.synthetic.store import write_synthetic
from rangemask.geometry import Rig
from rangemask.pipeline import Pipeline
from rangemask.structures import (
    DepthMap,
    Passport,
    Segmentation,
    StereoFrame,
    StereoMatch,
)

WIDTH, HEIGHT = 112, 84


def rendered(folder: Path, frames: int = 4) -> Dataset:
    """Rooms and table tops with exact labels."""
    rig = Rig.rectified(
        fx=110.0, cx=55.5, cy=41.5, baseline_m=0.1, width=WIDTH, height=HEIGHT, name="tiny"
    )
    write_synthetic(folder, range(frames), rig, kinds=("table", "room"))
    return open_dataset(folder)


@dataclass
class Listed:
    """Samples in memory as a data set."""

    samples: Sequence[Sample]
    classes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sample.name for sample in self.samples)

    @property
    def sequences(self) -> tuple[str, ...]:
        return tuple(sample.sequence for sample in self.samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


def _same(values: object) -> object:
    return values


class Knowing:
    """A model in all roles that says the truth, or what a change makes of it."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        disparity: Callable[[np.ndarray], np.ndarray] = _same,
        depth: Callable[[DepthMap], DepthMap] = _same,
        found: Callable[[Segmentation], Segmentation] = _same,
    ) -> None:
        self.samples = {sample.name: sample for sample in dataset}
        self.change_disparity, self.change_depth, self.change_found = disparity, depth, found
        self.passport = Passport(
            role="truth", model="truth", licence="Apache-2.0", licence_class="commercial-ok"
        )

    def match(self, frame: StereoFrame) -> StereoMatch:
        true = self.samples[frame.name].disparity
        disparity = np.asarray(self.change_disparity(true), dtype=np.float32)
        nowhere = np.zeros(disparity.shape, dtype=bool)
        sure = np.isfinite(disparity).astype(np.float32)
        return StereoMatch(disparity=disparity, confidence=sure, occluded=nowhere, filled=nowhere)

    def look(self, frame: StereoFrame) -> DepthMap:
        from rangemask.evaluation.alignment import true_depth_m

        return self.change_depth(DepthMap(values=true_depth_m(self.samples[frame.name])))

    def segment(self, frame: StereoFrame) -> Segmentation:
        sample = self.samples[frame.name]
        return self.change_found(Segmentation(sample.masks, sample.semantic))


@dataclass
class Role:
    """One role of a model that knows."""

    call: Callable[[StereoFrame], object]
    passport: Passport

    def __call__(self, frame: StereoFrame, **_: object) -> object:
        return self.call(frame)


def pipeline_of(
    knowing: Knowing, *, stereo: bool = True, depth: bool = False, masks: bool = True
) -> Pipeline:
    """A pipeline of its roles."""

    def role(name: str, call: Callable[[StereoFrame], object]) -> Role:
        return Role(call, replace(knowing.passport, role=name))

    return Pipeline(
        role("stereo", knowing.match) if stereo else None,
        role("masks", knowing.segment) if masks else None,
        depth=role("depth", knowing.look) if depth else None,
    )
