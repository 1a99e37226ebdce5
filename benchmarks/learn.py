"""The student learns: from random weights, on rendered scenes, judged on scenes it never saw.

    python benchmarks/learn.py [--only depth,stereo,...] [--share 1.0] [--jobs 2]
                               [--output FOLDER] [--picture FILE]

Every line trains the nano student from random weights through ``rangemask.training.fit``, as
``rangemask train`` does, on the same 1600 rendered scenes of 168 x 112 px (labels are the exact
truth), and compares it on 48 held-out scenes with what needs no learning. Lines run side by side,
a thread each, which uses two cores better than two threads of one small network. ``--share``
scales all steps, for a quick look. Curves, students and numbers are left in the output folder;
without one they are thrown away. ``--picture`` draws the learning curves.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

import rangemask as rm
from rangemask.backends.registry import load_masks, load_stereo
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.data.sample import Sample
from rangemask.data.store import open_labels
from rangemask.data.synthetic.store import write_synthetic
from rangemask.geometry import Rig, depth_from_disparity
from rangemask.metrics import average_precision, boundary_f, depth_metrics, disparity_metrics
from rangemask.metrics.masks import mask_iou
from rangemask.models.backbone import build_backbone
from rangemask.models.config import RangeMaskConfig
from rangemask.models.heads.masks.merging import instances, masks_at_size
from rangemask.models.rangemask import RangeMask, RangeMaskOutput, build_rangemask
from rangemask.structures import MaskSet
from rangemask.training.batch import Batch, collate
from rangemask.training.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    TrainerConfig,
)
from rangemask.training.examples import TrainingSet
from rangemask.training.fit import fit
from rangemask.training.plots import read_curves
from rangemask.training.self_supervision.adaptation import BackboneAdaptation
from rangemask.training.self_supervision.config import (
    AdapterConfig,
    CropConfig,
    DinoAdaptationConfig,
    ProjectionConfig,
)
from rangemask.training.self_supervision.crops import multi_crop
from rangemask.training.self_supervision.masks import block_masks
from rangemask.training.stage_loss import StageLoss
from rangemask.training.stages import STAGES, wanted_of

RIG = Rig.rectified(fx=150.0, cx=83.5, cy=55.5, baseline_m=0.12, width=168, height=112)
TRAIN, HELD_OUT = range(1600), range(10_000, 10_048)
SIZE = (112, 168)
FARTHEST_M = 20.0
SEMANTIC = ("floor", "wall", "object", "person")
OBJECTS = ("object", "person")
BATCH = 8

Points = list[tuple[int, float]]
Row = dict[str, Any]
Line = tuple[str, float, float, str]
"""What, ours, the baseline's, the target."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How one line is trained."""

    stage: str
    heads: tuple[str, ...]
    epochs: int
    loss: Mapping[str, Any] = field(default_factory=dict)
    augmentation: str = "light"
    head_options: Mapping[str, Any] = field(default_factory=dict)


_LOG = {"depth": {"kind": "log-l1"}}
"""A far pixel counts as much as a near one, as in AbsRel."""
LESSONS: Mapping[str, Lesson] = MappingProxyType(
    {
        "depth": Lesson(stage="depth", heads=("depth",), epochs=8, loss=_LOG),
        "stereo": Lesson(
            stage="stereo",
            heads=("stereo",),
            epochs=8,
            augmentation="none",  # rendered cameras agree in colour and lie in line
            head_options={"stereo": {"iterations": 4}},
        ),
        "semantic": Lesson(stage="semantic", heads=("semantic",), epochs=8),
        "masks": Lesson(stage="masks", heads=("masks",), epochs=8),
        "fusion": Lesson(stage="joint", heads=("depth", "masks", "fusion"), epochs=6, loss=_LOG),
        "no fusion": Lesson(stage="joint", heads=("depth", "masks"), epochs=6, loss=_LOG),
    }
)


class Bench:
    """Data, and what all lines share.

    Args:
        folder: where everything goes.
        share: of the steps.
    """

    def __init__(self, folder: Path, share: float) -> None:
        self.folder, self.share = folder, share
        self.train, self.val = folder / "train", folder / "held-out"
        for root, seeds in ((self.train, TRAIN), (self.val, HELD_OUT)):
            if not (root / "manifest.json").is_file():
                write_synthetic(root, seeds, RIG)
        self.held_out = list(open_labels(self.val))
        self.curves: dict[str, dict[str, Points]] = {}

    def steps(self, count: int) -> int:
        """So many, scaled."""
        return max(round(count * self.share), 4)

    def fit(self, name: str) -> RangeMask:
        """A student after its lesson."""
        lesson = LESSONS[name]
        semantic = lesson.heads == ("semantic",)
        fitted = fit(
            TrainConfig(
                stage=lesson.stage,  # type: ignore[arg-type]
                data=DataConfig(
                    root=str(self.train),
                    validation=str(self.val),
                    classes=SEMANTIC if semantic else OBJECTS,
                    size_px=SIZE,
                    batch_size=BATCH,
                    workers=1,
                    augmentation=lesson.augmentation,
                ),
                model=ModelConfig(
                    preset="nano",
                    heads=lesson.heads,
                    max_depth_m=FARTHEST_M,
                    trained_blocks=-1,
                    head_options=lesson.head_options,
                ),
                optimizer=OptimizerConfig(lr=1e-3, backbone_lr_share=1.0, ema_decay=0.99),
                trainer=TrainerConfig(
                    max_epochs=lesson.epochs,
                    max_steps=self.steps(lesson.epochs * len(TRAIN) // BATCH),
                    accelerator="cpu",
                    predictions=2,
                ),
                run=RunConfig(root=str(self.folder / "runs"), name=name.replace(" ", "-")),
                loss=lesson.loss,
            ),
            progress=False,
        )
        curves = read_curves(fitted.folder / "logs" / "metrics.csv")
        self.curves[name] = {key: points for key, points in curves.items() if "val/" in key}
        return rm.load_model(fitted.folder / "last", device="cpu")

    def answers(self, student: RangeMask) -> Iterator[tuple[Sample, RangeMaskOutput]]:
        """What a student says of every held-out frame."""
        for sample in self.held_out:
            left = _tensor(sample.frame.left)
            right = _tensor(sample.frame.right) if sample.frame.right is not None else None
            with torch.inference_mode():
                yield sample, student(left, right)


def _tensor(image: np.ndarray | None) -> torch.Tensor:
    assert image is not None
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def _depth_m(sample: Sample) -> np.ndarray:
    assert sample.disparity is not None
    assert sample.frame.rig is not None
    return depth_from_disparity(sample.disparity, sample.frame.rig)


def depth_line(bench: Bench) -> Line:
    """AbsRel against that of the training median."""
    known = [_depth_m(sample) for sample in open_labels(bench.train)]
    median = float(np.nanmedian(np.stack(known)))
    student = bench.fit("depth")
    ours, trivial = [], []
    for sample, said in bench.answers(student):
        truth = _depth_m(sample)
        assert said.depth is not None
        within = {"max_depth_m": FARTHEST_M}
        ours.append(depth_metrics(said.depth[0].numpy(), truth, **within).abs_rel)
        trivial.append(depth_metrics(np.full_like(truth, median), truth, **within).abs_rel)
    return "depth, AbsRel", float(np.mean(ours)), float(np.mean(trivial)), "<= 0.45 x"


def stereo_line(bench: Bench) -> Line:
    """EPE against that of filled semi-global matching, all pixels."""
    student = bench.fit("stereo")
    sgbm = load_stereo("sgbm", quality="best", fill=True)
    ours, theirs = [], []
    for sample, said in bench.answers(student):
        assert said.stereo is not None
        truth = sample.disparity
        ours.append(disparity_metrics(said.stereo.disparity_px[0].numpy(), truth).epe_px)
        found = sgbm(sample.frame).disparity
        # A missing answer counts as 0 px, so that both are judged on the same pixels.
        theirs.append(disparity_metrics(np.nan_to_num(found), truth).epe_px)
    return "stereo, EPE (px)", float(np.mean(ours)), float(np.mean(theirs)), "<= 1.0 x"


def semantic_line(bench: Bench) -> Line:
    """Mean IoU over all held-out pixels against that of the majority class."""
    from rangemask.models.heads.semantic import semantic_ids

    student = bench.fit("semantic")
    count = len(SEMANTIC) + 1
    table = np.zeros((count, count))
    for sample, said in bench.answers(student):
        assert said.semantic_logits is not None
        assert sample.semantic is not None
        ids = semantic_ids(said.semantic_logits, SIZE)[0].numpy()
        truth = sample.semantic.ids
        known = truth > 0
        table += np.bincount(truth[known] * count + ids[known], minlength=count**2).reshape(
            count, count
        )
    majority = np.zeros_like(table)
    majority[:, int(table.sum(1).argmax())] = table.sum(1)
    return "semantic, mIoU", _miou(table), _miou(majority), ">= 3 x"


def _miou(table: np.ndarray) -> float:
    hits = np.diag(table)
    union = table.sum(0) + table.sum(1) - hits
    there = table.sum(1) > 0
    return float((hits[there] / union[there]).mean())


def _found(student: RangeMask, said: RangeMaskOutput) -> MaskSet:
    assert said.masks is not None
    assert student.config.masks is not None
    (mine,) = instances(said.masks.class_logits, said.masks.mask_logits, min_score=0.05)
    dense = masks_at_size(mine.mask_logits, *SIZE).numpy()
    if not len(dense):
        return MaskSet(*SIZE)
    labels = [student.config.masks.classes[index] for index in mine.labels.tolist()]
    return MaskSet.from_dense(dense, labels=labels, scores=mine.scores.tolist())


def masks_line(bench: Bench) -> Line:
    """AP50 of masks whatever their class, beside that of ``geometry`` on filled SGM."""
    student = bench.fit("masks")
    stereo, geometry = load_stereo("sgbm", quality="best"), load_masks("geometry")
    ours, theirs = [], []
    for sample, said in bench.answers(student):
        assert sample.masks is not None
        ours.append((_found(student, said), sample.masks))
        depth = depth_of_match(stereo(sample.frame), sample.frame)
        theirs.append((geometry(sample.frame, depth=depth).masks, sample.masks))
    with_classes = average_precision(ours).ap50
    print(f"  (masks with their classes: AP50 {with_classes:.3f})")
    mine = average_precision(ours, use_labels=False).ap50
    return "masks, AP50", mine, average_precision(theirs, use_labels=False).ap50, ">= 0.3"


def fusion_lines(bench: Bench) -> list[Line]:
    """Borders of masks and depth near them, with and without the fusion head, equal steps."""
    results = []
    for name in ("fusion", "no fusion"):
        student = bench.fit(name)
        f_scores, errors = [], []
        for sample, said in bench.answers(student):
            assert sample.masks is not None
            assert said.depth is not None
            f_scores += list(_border_scores(_found(student, said), sample.masks))
            near = _near_borders(sample.masks)
            truth = _depth_m(sample)
            error = said.depth[0].numpy() - truth
            errors.append(error[near & (truth <= FARTHEST_M)])
        rmse = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
        results.append((float(np.mean(f_scores)), rmse))
    (with_f, with_rmse), (without_f, without_rmse) = results
    return [
        ("fusion, mask boundary F", with_f, without_f, "> 1 x"),
        ("fusion, depth RMSE at borders (m)", with_rmse, without_rmse, "< 1 x"),
    ]


def _border_scores(found: MaskSet, truth: MaskSet) -> Iterator[float]:
    """Boundary F of the mask that overlaps each object most; 0 for those that were missed."""
    overlap = mask_iou(found, truth) if len(found) and len(truth) else None
    for number, mask in enumerate(truth.dense()):
        if overlap is None or overlap[:, number].max() == 0:
            yield 0.0
        else:
            best = int(overlap[:, number].argmax())
            yield boundary_f(found.rles[best].decode(), mask, tolerance=2)


def _near_borders(masks: MaskSet, radius_px: int = 4) -> np.ndarray:
    import cv2

    near = np.zeros(SIZE, dtype=bool)
    kernel = np.ones((2 * radius_px + 1, 2 * radius_px + 1), np.uint8)
    for mask in masks.dense().astype(np.uint8):
        near |= cv2.dilate(mask, kernel) != cv2.erode(mask, kernel)
    return near


def overfit_lines(bench: Bench) -> Iterator[Line]:
    """One batch of two frames, the same at every step: loss at the end by that at the start."""
    for stage, options in (
        ("depth", {"depth": {"kind": "l1"}}),
        ("stereo", {}),
        ("semantic", {"semantic": {"resolution": "patches"}}),
        ("masks", {}),
        ("fusion", {}),
    ):
        torch.manual_seed(0)
        heads = tuple(dict.fromkeys((*STAGES[stage].asks, *STAGES[stage].trains)))
        classes = SEMANTIC if stage == "semantic" else OBJECTS
        config = RangeMaskConfig.preset("nano", heads, classes=classes, max_depth_m=FARTHEST_M)
        student = build_rangemask(config).train()
        student.requires_grad_(True)
        wanted = wanted_of(STAGES[stage], config)
        examples = TrainingSet(open_labels(bench.train), wanted, size=SIZE, multiple=28)
        batch: Batch = collate([examples[0], examples[1]])
        loss = StageLoss(STAGES[stage], config, options)
        values = _overfitted(student, loss, batch, bench.steps(400))
        bench.curves[f"over-fit {stage}"] = {
            "share": [(step, value / values[0]) for step, value in enumerate(values)]
        }
        yield (f"over-fit {stage}", values[-1], values[0], "<= 0.02 x")


def overfit_backbone_line(bench: Bench) -> Line:
    """The same of self-supervision: fixed views, hidden patches and teacher.

    Cross-entropies have a floor, the entropy of what the teacher says: counted is what lies above.
    """
    torch.manual_seed(0)
    config = DinoAdaptationConfig(
        crops=CropConfig(global_px=112, local_px=56, local_views=2),
        heads=ProjectionConfig(prototypes=256, hidden=128, bottleneck=64),
        head_warmup=0.0,
        frozen_prototypes=0.0,
        adapters=AdapterConfig(learned="blocks", blocks=4),
    )
    adaptation = BackboneAdaptation(build_backbone("dinov2-nano"), config)
    samples = open_labels(bench.train)
    images = torch.cat([_tensor(samples[index].frame.left) for index in range(4)])
    generator = torch.Generator().manual_seed(0)
    views = multi_crop(images, config.crops, generator)
    grid = (config.crops.global_px // 14,) * 2
    hidden = block_masks(len(views.large), grid, config.masks, generator)
    learning = [p for p in adaptation.student.parameters() if p.requires_grad]
    excess: list[float] = []

    def loss() -> torch.Tensor:
        found = adaptation.loss_of_views(views, hidden, progress=0.5)
        above = found.parts["dino_excess"] + found.parts["ibot_excess"]
        excess.append(float(above.detach()))
        return found.total

    _descend(learning, loss, bench.steps(400))
    bench.curves["over-fit backbone"] = {
        "share": [(step, value / excess[0]) for step, value in enumerate(excess)]
    }
    return "over-fit backbone", excess[-1], excess[0], "<= 0.02 x"


def _overfitted(student: RangeMask, loss: StageLoss, batch: Batch, steps: int) -> list[float]:
    """Loss at every step."""
    values: list[float] = []

    def one() -> torch.Tensor:
        total = loss(student, batch, torch.Generator().manual_seed(0)).total
        values.append(float(total.detach()))
        return total

    _descend(list(student.parameters()), one, steps)
    return values


def _descend(
    learning: list[torch.nn.Parameter], loss: Callable[[], torch.Tensor], steps: int
) -> None:
    optimizer = torch.optim.AdamW(learning, lr=2e-3, weight_decay=0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for _ in range(steps):
        total = loss()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()


LINES: dict[str, Callable[[Bench], list[Line]]] = {
    "stereo": lambda bench: [stereo_line(bench)],
    "fusion": fusion_lines,
    "masks": lambda bench: [masks_line(bench)],
    "depth": lambda bench: [depth_line(bench)],
    "overfit": lambda bench: [*overfit_lines(bench), overfit_backbone_line(bench)],
    "semantic": lambda bench: [semantic_line(bench)],
}
"""Longest first, so that no core waits at the end."""


class Result(NamedTuple):
    """What a line leaves."""

    name: str
    lines: list[Line]
    curves: dict[str, dict[str, Points]]
    wall_s: float
    processor_s: float


def run(name: str, folder: Path, share: float) -> Result:
    """One line, in a process of its own."""
    logging.getLogger("rangemask").setLevel(logging.WARNING)
    torch.set_num_threads(1)
    start, busy = time.perf_counter(), time.process_time()
    bench = Bench(folder, share)
    lines = LINES[name](bench)
    times = time.perf_counter() - start, time.process_time() - busy
    return Result(name, lines, bench.curves, *times)


PANELS: tuple[tuple[str, tuple[str, ...], str, str | None], ...] = (
    ("depth: AbsRel", ("depth",), "val/abs_rel", "depth, AbsRel"),
    ("stereo: mean error (px)", ("stereo",), "val/epe_px", "stereo, EPE (px)"),
    ("semantic: mean IoU", ("semantic",), "val/miou", "semantic, mIoU"),
    ("masks: AP50 with classes", ("masks",), "val/ap50", None),
    ("together: RMSE of depth (m)", ("fusion", "no fusion"), "val/rmse_m", None),
)
"""Title, lessons, number, and the line of the table whose baseline is drawn."""


def draw(path: Path, curves: Mapping[str, Mapping[str, Points]], rows: list[Row]) -> None:
    """Learning curves on held-out scenes beside what needs no learning, and over-fitting."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4), dpi=80, layout="constrained")
    panels = figure.subplots(2, 3).flatten().tolist()
    for axes, (title, lessons, number, line) in zip(panels, PANELS, strict=False):
        for lesson in lessons:
            points = curves.get(lesson, {}).get(number, [])
            if points:
                steps, values = zip(*points, strict=True)
                axes.plot(steps, values, marker="o", markersize=3, label=lesson)
        for row in rows:
            if row["what"] == line:
                axes.axhline(row["baseline"], color="grey", linestyle="--", label="baseline")
        axes.set_title(title)
    for name, found in curves.items():
        if name.startswith("over-fit "):
            steps, values = zip(*found["share"], strict=True)
            panels[-1].semilogy(steps, values, label=name.removeprefix("over-fit "))
    panels[-1].axhline(0.02, color="grey", linestyle="--", label="2 %")
    panels[-1].set_title("one batch over-fitted: share of the first loss")
    for axes in panels:
        last = axes is panels[-1]
        axes.grid(alpha=0.3)
        axes.set_xlabel("optimiser steps")
        axes.set_ylim(*((None, 100) if last else (0, None)))
        axes.legend(frameon=False, **({"loc": "upper right", "ncols": 2} if last else {}))
    figure.savefig(path)


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(LINES))
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    began = time.perf_counter()
    rows: list[Row] = []
    curves: dict[str, dict[str, Points]] = {}
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.output or Path(temporary)
        Bench(folder, given.share)
        print(f"scenes: {time.perf_counter() - began:.0f} s", flush=True)
        with ProcessPoolExecutor(given.jobs, mp_context=spawn) as pool:
            asked = [
                pool.submit(run, name, folder, given.share)
                for name in LINES
                if name in given.only.split(",")
            ]
            for done in as_completed(asked):
                result = done.result()
                rows += [show(*line) for line in result.lines]
                curves |= result.curves
                print(
                    f"  {result.name}: {result.wall_s:.0f} s, {result.processor_s:.0f} s of the "
                    "processor without loading",
                    flush=True,
                )
    print(f"all: {(time.perf_counter() - began) / 60:.1f} min")
    if given.output is not None:
        found = {"rows": rows, "curves": curves}
        (given.output / "learn.json").write_text(json.dumps(found, indent=1) + "\n")
    if given.picture is not None:
        draw(given.picture, curves, rows)


def show(what: str, ours: float, baseline: float, target: str) -> Row:
    """A row of the table."""
    ratio = ours / baseline if baseline else math.nan
    print(f"{what:36} {ours:8.4f}  baseline {baseline:8.4f}  {ratio:7.3f} x  {target}")
    return {"what": what, "ours": ours, "baseline": baseline, "target": target}


if __name__ == "__main__":
    main()
