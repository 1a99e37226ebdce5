"""Depth for one eye and for two learns without labels: rendered sequences, then real ones.

    python benchmarks/two_in_one.py [--only synthetic,real] [--share 1.0]
                                    [--real ../shared/data/sequence]
                                    [--output FOLDER] [--picture FILE]

``synthetic``: a nano two-in-one network learns from pairs of a camera that moves through rendered
rooms, as ``rangemask train two-in-one`` does, from random weights and without a label; it is
judged on views between those that it learnt from, and on rooms that it never saw, by one eye and
by two, against the median depth of the training pairs. ``real``: the same on short real sequences,
each by itself, judged by how unlike the left image is what the network makes of the right one. The
stages begin earlier, and rates are higher, than published: there are some hundred pairs, not
22 600. ``--share`` scales the epochs, for a quick look. ``--picture`` draws the disparity of the
first held-out pair of KITTI's sequence.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from rangemask.data.synthetic import random_scene, render
from rangemask.data.synthetic.scene import SyntheticScene
from rangemask.geometry import Rig, depth_from_disparity
from rangemask.geometry.arrays import AnyArray, Matrix
from rangemask.metrics import depth_metrics
from rangemask.models.two_in_one import TwoInOne
from rangemask.models.two_in_one.pretrained import load_two_in_one
from rangemask.structures.images import write_image
from rangemask.training.config import RunConfig
from rangemask.training.two_in_one import AugmentationConfig, LossConfig, ScheduleConfig
from rangemask.training.two_in_one.config import (
    PairDataConfig,
    PairTrainerConfig,
    TwoInOneTrainConfig,
)
from rangemask.training.two_in_one.fit import fit_two_in_one, make_network
from rangemask.training.two_in_one.pairs import JudgedPair, JudgedSet
from rangemask.training.two_in_one.recordings import d2d_of_data, open_pairs
from rangemask.training.two_in_one.schedule import StageSchedule
from rangemask.training.two_in_one.scores import (
    PairScores,
    disparities,
    left_right_consistency,
    score,
)
from rangemask.view.colormap import ColourRange, colour_values

RIG = Rig.rectified(fx=140.0, cx=79.5, cy=47.5, baseline_m=0.2, width=160, height=96)
ROOMS, NEW_ROOMS = range(8), range(1000, 1008)
VIEWS = 12
"""Of a room to learn from; those that are held out lie between them."""
STEP_M = 0.05
FARTHEST_M = 20.0
STAGES = ("mono", "pair", "refine")
NETWORK = {"min_disp": 2.0, "max_disp": 32.0, "out_ch": 17, "detail_channels": 0}


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How one network is trained."""

    epochs: int
    full_size: tuple[int, int]
    crop_size: tuple[int, int]
    lr: float
    pair_from: int
    refine_from: int
    batch_size: int = 4
    shared_factor: float = 0.1
    scale: tuple[float, float] = (0.9, 1.2)
    brightness: tuple[float, float] = (0.8, 1.25)
    jitter: float = 0.5
    loss: Mapping[str, float] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=lambda: dict(NETWORK))

    def schedule(self, share: float) -> ScheduleConfig:
        """Rates fall twice; stages begin where they are told."""
        falls = tuple(round(self.epochs * part) for part in (0.7, 0.9))
        pair, refine = self.pair_from, self.refine_from
        whole = ScheduleConfig(
            epochs=self.epochs,
            lr=self.lr,
            shared_factor=self.shared_factor,
            mono=StageSchedule(first_epoch=1, milestones=falls),
            pair=StageSchedule(first_epoch=pair, milestones=falls),
            refine=StageSchedule(first_epoch=refine, milestones=falls),
        )
        return whole if share == 1 else whole.scaled(max(round(self.epochs * share), 2))


SYNTHETIC = Lesson(
    epochs=54,
    full_size=(96, 160),
    crop_size=(64, 128),
    lr=1e-3,
    pair_from=1,
    refine_from=46,
    shared_factor=0.5,
)

REAL: Mapping[str, Lesson] = MappingProxyType(
    {
        "kitti_odometry_a": Lesson(
            epochs=40,
            full_size=(96, 320),
            crop_size=(64, 192),
            lr=7e-4,
            pair_from=1,
            refine_from=40,
            batch_size=2,
            shared_factor=0.5,
            network=NETWORK | {"min_disp": 0.5, "out_ch": 25},
        ),
        "euroc_a": Lesson(
            epochs=40,
            full_size=(128, 192),
            crop_size=(96, 160),
            lr=7e-4,
            pair_from=1,
            refine_from=40,
            batch_size=2,
            shared_factor=0.5,
        ),
    }
)
PICTURED = "kitti_odometry_a"
CONSTANTS_PX = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20)


def write_rooms(root: Path, seeds: range, steps: Sequence[float]) -> None:
    """Recordings of a camera that moves ahead and aside in rooms."""
    for seed in seeds:
        scene, folder = random_scene(seed, kind="room"), root / f"room{seed:04}"
        for kind in ("left", "right", "disparity"):
            (folder / kind).mkdir(parents=True)
        RIG.save(folder / "rig.yaml")
        for number, step in enumerate(steps):
            pose = _moved(scene, step, seed)
            sample = render(scene, RIG, seed=seed * 100 + number, pose=pose)
            name = f"{number:06}"
            assert sample.frame.right is not None
            assert sample.disparity is not None
            write_image(folder / "left" / f"{name}.png", sample.frame.left)
            write_image(folder / "right" / f"{name}.png", sample.frame.right)
            np.save(folder / "disparity" / f"{name}.npy", sample.disparity)


def _moved(scene: SyntheticScene, number: float, seed: int) -> Matrix:
    """The camera's pose some steps later."""
    pose = np.array(scene.camera_pose)
    aside = 1 if seed % 2 else -1
    pose[:3, 3] += pose[:3, :3] @ np.array([aside * STEP_M * number, 0.0, STEP_M * number])
    return pose


def settings(
    lesson: Lesson, data: PairDataConfig, runs: Path, name: str, share: float
) -> TwoInOneTrainConfig:
    """Of a run."""
    return TwoInOneTrainConfig(
        encoder="nano",
        model=lesson.network,
        data=data,
        augmentation=AugmentationConfig(
            full_size=lesson.full_size,
            crop_size=lesson.crop_size,
            scale=lesson.scale,
            brightness=lesson.brightness,
            jitter=lesson.jitter,
        ),
        loss=LossConfig(**{"mono_perceptual": 0.0, **lesson.loss}),
        schedule=lesson.schedule(share),
        trainer=PairTrainerConfig(accelerator="cpu", predictions=2),
        run=RunConfig(root=str(runs), name=name),
    )


def judge(model: TwoInOne, pairs: list[JudgedPair]) -> dict[str, float]:
    """Means over pairs, by path."""
    scores = PairScores()
    for pair in pairs:
        for stage, found in disparities(model, pair, STAGES).items():
            scores.add(stage, score(found, pair, model.decoder.d2d, FARTHEST_M))
    return scores.result()


def consistency(model: TwoInOne, pairs: list[JudgedPair]) -> tuple[float, float]:
    """Of the binocular answers for both views."""
    found = []
    for pair in pairs:
        with torch.inference_mode():
            both = model(pair.left, pair.right, both=True)
        assert both.other is not None
        found.append(left_right_consistency(both.disparity, both.other.disparity))
    share, apart = np.mean(found, axis=0)
    return float(share), float(apart)


def synthetic(folder: Path, lesson: Lesson, share: float) -> dict[str, dict[str, float]]:
    """Train, and judge on views between those that were learnt from, and on other rooms."""
    between = (2.5, 8.5)
    for name, seeds, steps in (
        ("train", ROOMS, range(VIEWS)),
        ("views", ROOMS, between),
        ("rooms", NEW_ROOMS, between),
    ):
        if not (folder / name).is_dir():
            write_rooms(folder / name, seeds, steps)
    data = PairDataConfig(
        root=str(folder / "train"),
        validation=str(folder / "views"),
        batch_size=lesson.batch_size,
        workers=0,
        cap_m=FARTHEST_M,
    )
    config = settings(lesson, data, folder / "runs", "synthetic", share)
    known = [depth_from_disparity(one.disparity, RIG) for one in open_pairs(data, 0).train]
    median_m = float(np.nanmedian(np.stack(known)))
    model = load_two_in_one(fit_two_in_one(config, progress=False).folder / "last")
    return {name: _judged(model, folder / name, lesson, median_m) for name in ("views", "rooms")}


def _judged(model: TwoInOne, root: Path, lesson: Lesson, median_m: float) -> dict[str, float]:
    opened = open_pairs(PairDataConfig(root=str(root), validation=str(root)), 0)
    size, d2d = lesson.full_size, model.decoder.d2d
    pairs = list(JudgedSet(opened.val, opened.val_indices, size, d2d))
    result = judge(model, pairs)
    result["median_abs_rel"] = float(
        np.mean([_constant(one.truth.numpy(), median_m) for one in pairs if one.truth is not None])
    )
    result["agreeing"], result["apart_px"] = consistency(model, pairs)
    return result


def _constant(truth_m: AnyArray, median_m: float) -> float:
    guess = np.full_like(truth_m, median_m)
    return depth_metrics(guess, truth_m, max_depth_m=FARTHEST_M).abs_rel


def real(
    source: Path, folder: Path, share: float, picture: Path | None
) -> dict[str, dict[str, float]]:
    """Photometric errors of each real sequence's held-out pairs, before and after."""
    rows: dict[str, dict[str, float]] = {}
    for name, lesson in REAL.items():
        if not (source / name / "left").is_dir():
            raise SystemExit(f"{source / name} holds no left/; give --real FOLDER.")
        data = PairDataConfig(
            root=str(source / name),
            validation_share=0.25,
            batch_size=lesson.batch_size,
            workers=0,
        )
        config = settings(lesson, data, folder / "runs", name, share)
        opened = open_pairs(data, config.run.seed)
        torch.manual_seed(config.run.seed)
        before = make_network(config, d2d_of_data(opened, lesson.full_size[1])).train(False)
        judged = JudgedSet(opened.val, opened.val_indices, lesson.full_size, before.decoder.d2d)
        pairs = list(judged)
        fitted = fit_two_in_one(config, progress=False)
        after = load_two_in_one(fitted.folder / "last")
        rows[name] = {
            **{f"{stage}_before": judge(before, pairs)[f"{stage}_photo"] for stage in STAGES[:2]},
            **{f"{stage}_after": judge(after, pairs)[f"{stage}_photo"] for stage in STAGES[:2]},
            "constant": min(_photo_of_constant(pair_px, pairs) for pair_px in CONSTANTS_PX),
            "agreeing": consistency(after, pairs)[0],
        }
        if picture is not None and name == PICTURED:
            draw(after, pairs[0], picture)
    return rows


def _photo_of_constant(disparity_px: float, pairs: list[JudgedPair]) -> float:
    """Photometric error of one disparity for all pixels."""
    flat = [torch.full_like(pair.left[:, :1], disparity_px) for pair in pairs]
    scale = float(pairs[0].focal_baseline[0])
    found = [score(one, pair, scale, 80.0)["photo"] for one, pair in zip(flat, pairs, strict=True)]
    return float(np.mean(found))


def draw(model: TwoInOne, pair: JudgedPair, path: Path) -> None:
    """Disparity by one eye above that by two: the answers alone, nothing of the images."""
    maps = [one[0, 0].numpy() for one in disparities(model, pair, ("mono", "pair")).values()]
    low, high = np.percentile(np.stack(maps), (1, 99))
    colours = ColourRange(low=float(low), high=float(high))
    rows = [np.kron(one, np.ones((2, 2), dtype=np.float32)) for one in maps]
    gap = np.full((8, rows[0].shape[1], 3), 255, dtype=np.uint8)
    painted = [colour_values(one, colours) for one in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.concatenate([painted[0], gap, painted[1]]))


def tell_synthetic(rows: Mapping[str, Mapping[str, float]]) -> None:
    """As tables, with the targets for views that were held out."""
    titles = {"views": "held-out views of the rooms", "rooms": "rooms never seen"}
    names = {"mono": "one eye", "refine": "one eye, refined", "pair": "two eyes"}
    for kind, row in rows.items():
        median = row["median_abs_rel"]
        print(f"{titles[kind]:33}  AbsRel   RMSE (m)   by the median's")
        print(f"median depth of the training     {median:8.3f}")
        for stage, words in names.items():
            error = row[f"{stage}_abs_rel"]
            print(f"{words:33}{error:8.3f} {row[f'{stage}_rmse_m']:10.2f} {error / median:14.2f} x")
        print(
            f"  left and right agree within 1 px in {100 * row['agreeing']:.0f} % of the pixels, "
            f"differ by {row['apart_px']:.2f} px on average"
        )
    views = rows["views"]
    one_eye = min(views["mono_abs_rel"], views["refine_abs_rel"])
    print(f"  one eye <= 0.5 x the median's: {_said(one_eye <= 0.5 * views['median_abs_rel'])}")
    print(f"  two eyes better than one: {_said(views['pair_abs_rel'] < one_eye)}")


def tell_real(rows: Mapping[str, Mapping[str, float]]) -> None:
    """As a table, with the target."""
    print(
        "real, held-out pairs: photometric error  before   after    fall  best constant  agreeing"
    )
    for name, row in rows.items():
        for stage, words in (("mono", "one eye"), ("pair", "two eyes")):
            before, after = row[f"{stage}_before"], row[f"{stage}_after"]
            print(
                f"{name:24} {words:15} {before:7.3f} {after:7.3f} {1 - after / before:7.0%} "
                f"{row['constant']:14.3f} {row['agreeing']:9.0%}"
            )
    falls = [1 - row["pair_after"] / row["pair_before"] for row in rows.values()]
    print(f"  falls by 30 % or more: {_said(min(falls) >= 0.3)}")


def _said(is_so: bool) -> str:
    return "yes" if is_so else "NO"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="synthetic,real")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--real", type=Path, default=Path("../shared/data/sequence"))
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    logging.getLogger("rangemask").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.output or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / "runs", ignore_errors=True)
        result: dict[str, Any] = {}
        for name in given.only.split(","):
            wall_s, used_s = time.perf_counter(), time.process_time()
            if name == "synthetic":
                result[name] = synthetic(folder, SYNTHETIC, given.share)
                tell_synthetic(result[name])
            else:
                result[name] = real(given.real, folder, given.share, given.picture)
                tell_real(result[name])
            print(
                f"  {time.process_time() - used_s:.0f} s of processor, "
                f"{time.perf_counter() - wall_s:.0f} s\n",
                flush=True,
            )
        if given.output is not None:
            text = json.dumps(result, indent=1) + "\n"
            (given.output / "two_in_one.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
