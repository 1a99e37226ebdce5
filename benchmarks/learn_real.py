"""The stereo head learns from ``sgbm`` pseudo-labels of real pairs and fills in what they lack.

    python benchmarks/learn_real.py [--data ../shared/data/stereo] [--start STUDENT]
                                    [--steps 600] [--output FOLDER]

``rangemask label`` makes the labels; a nano student learns them as ``rangemask train stereo``
does, from random weights or from ``--start``. Judged on the scenes' ground truth, over the pixels
that the labels lack (occluded, blank or not trusted): the student before and after, the matcher's
own filling of them, and no answer at all (0 px). Errors are in pixels of the images as stored;
every scene counts the same. Rendered scenes of the folder are left out.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import rangemask as rm
from rangemask.backends.registry import load_stereo
from rangemask.data.store import open_labels
from rangemask.labels import LabelConfig, RunOptions, label_dataset
from rangemask.models.rangemask import RangeMask
from rangemask.structures import StereoFrame
from rangemask.structures.images import write_image
from rangemask.training.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    TrainerConfig,
)
from rangemask.training.fit import fit
from rangemask.training.students import student_for

Map = NDArray[np.float32]
SIZE = (252, 392)
MULTIPLE = 28
BAD_PX = 2.0


class Scenes:
    """Real pairs, their labels and their truth.

    Args:
        source: folder of scenes with ground truth.
        root: where the pairs and their labels go.
    """

    def __init__(self, source: Path, root: Path) -> None:
        self.root = root
        self.frames: dict[str, StereoFrame] = {}
        self.truth_px: dict[str, Map] = {}
        for path in sorted(source.glob("*/calib.json")):
            calib = json.loads(path.read_text(encoding="utf-8"))
            if calib["synthetic"]:
                continue
            name = path.parent.name
            files = [path.parent / calib[key] for key in ("left_file", "right_file")]
            self.frames[name] = StereoFrame.read(files[0], files[1], name=name)
            self.truth_px[name] = np.load(path.parent / calib["disparity_file"])
        if not self.frames:
            raise SystemExit(f"no scenes with ground truth are in {source}; give --data FOLDER.")

    @property
    def watched(self) -> Path:
        """A store of one of the scenes: what a run validates on; judged is elsewhere."""
        return self.root.with_name("watched")

    def label(self) -> None:
        """As ``rangemask label`` does."""
        _label(self.root, self.frames)
        _label(self.watched, dict([next(iter(self.frames.items()))]))

    def lacking(self) -> dict[str, NDArray[np.bool_]]:
        """Where the truth is known and the labels are not, or have no weight."""
        found = {}
        for sample in open_labels(self.root):
            assert sample.disparity is not None
            given = np.isfinite(sample.disparity)
            if sample.weight is not None:
                given &= sample.weight > 0
            found[sample.name] = np.isfinite(self.truth_px[sample.name]) & ~given
        return found


def _label(root: Path, frames: Mapping[str, StereoFrame]) -> None:
    for side in ("left", "right"):
        (root / side).mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        assert frame.right is not None
        write_image(root / "left" / f"{name}.png", frame.left)
        write_image(root / "right" / f"{name}.png", frame.right)
    label_dataset(root, LabelConfig(masks=None), RunOptions())


def train(scenes: Scenes, start: Path | None, steps: int, runs: Path) -> tuple[RangeMask, ...]:
    """The student before and after."""
    config = TrainConfig(
        stage="stereo",
        data=DataConfig(
            root=str(scenes.root),
            validation=str(scenes.watched),
            size_px=SIZE,
            batch_size=4,
            workers=1,
            augmentation="light",
        ),
        model=ModelConfig(
            preset="nano",
            start_from=None if start is None else str(start),
            trained_blocks=-1,
        ),
        optimizer=OptimizerConfig(lr=1e-3, backbone_lr_share=1.0, ema_decay=0.99),
        trainer=TrainerConfig(max_epochs=10_000, max_steps=steps, accelerator="cpu", predictions=2),
        run=RunConfig(root=str(runs), name="stereo"),
    )
    before = student_for(config, ()).train(False)
    fitted = fit(config, progress=False)
    return before, rm.load_model(fitted.folder / "last", device="cpu")


def answer(student: RangeMask, frame: StereoFrame) -> Map:
    """(H, W) px: what a student says everywhere, at the short side that it learnt at."""
    assert frame.right is not None
    scale = SIZE[0] / min(frame.height, frame.width)
    height, width = (
        max(round(side * scale / MULTIPLE), 1) * MULTIPLE for side in (frame.height, frame.width)
    )
    with torch.inference_mode():
        said = student(*(_tensor(image, height, width) for image in (frame.left, frame.right)))
    assert said.stereo is not None
    small = said.stereo.disparity_px[0].numpy()
    size = (frame.width, frame.height)
    return cv2.resize(small, size, interpolation=cv2.INTER_LINEAR) * (frame.width / width)


def _tensor(image: NDArray[np.uint8], height: int, width: int) -> torch.Tensor:
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255


def judge(found: Map, truth_px: Map, where: NDArray[np.bool_]) -> tuple[float, float]:
    """Mean error in px, and per cent of pixels off by more than 2 px; no answer counts as 0 px."""
    error = np.abs(np.nan_to_num(found)[where] - truth_px[where])
    return float(error.mean()), float(100 * (error > BAD_PX).mean())


def table(scenes: Scenes, students: Mapping[str, RangeMask]) -> dict[str, dict[str, list[float]]]:
    """Of each scene and of all: error and share of bad pixels by who answers."""
    filling = load_stereo("sgbm", quality="best", fill=True)
    rows: dict[str, dict[str, list[float]]] = {}
    for name, where in scenes.lacking().items():
        frame, truth_px = scenes.frames[name], scenes.truth_px[name]
        answers = {"labels, 0 px": np.zeros_like(truth_px), "labels, filled": filling(frame)}
        found = {
            who: given if isinstance(given, np.ndarray) else given.disparity
            for who, given in answers.items()
        }
        found |= {who: answer(student, frame) for who, student in students.items()}
        rows[name] = {who: list(judge(given, truth_px, where)) for who, given in found.items()}
        rows[name]["share"] = [float(where.sum() / np.isfinite(truth_px).sum())]
    whole = {
        key: np.mean([row[key] for row in rows.values()], axis=0).tolist()
        for key in next(iter(rows.values()))
    }
    return rows | {"all scenes": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/stereo"))
    parser.add_argument("--start", type=Path)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    logging.getLogger("rangemask").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.output or Path(temporary)
        shutil.rmtree(folder / "runs", ignore_errors=True)
        start = time.perf_counter()
        scenes = Scenes(given.data, folder / "captures")
        scenes.label()
        before, after = train(scenes, given.start, given.steps, folder / "runs")
        rows = table(scenes, {"student, before": before, "student, after": after})
        print("over the pixels that the labels lack: mean error (px), off by more than 2 px (%)")
        for name, row in rows.items():
            share = row.pop("share")[0]
            parts = "  ".join(f"{who} {epe:6.2f} {bad:5.1f}" for who, (epe, bad) in row.items())
            print(f"{name:28} {100 * share:4.1f} % of pixels  {parts}")
        print(f"{time.perf_counter() - start:.0f} s")
        if given.output is not None:
            (given.output / "learn_real.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
