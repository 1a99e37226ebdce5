"""What labelling adds to its teachers, and what a second Ray worker brings.

    python benchmarks/label.py [--frames 12] [--quality fast] [--ray]

Synthetic pairs of 741 x 500 px on disk. The bare time is that of the teachers (matcher, depth from
its disparity, segmenter) on frames in memory; labelling reads the images, asks the same teachers,
weighs, judges, measures and writes all files. Both take turns frame by frame, so that a busy
machine harms both alike.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import ray

from rangemask.backends.registry import load_masks, load_stereo
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.data.frame_sources import FrameSource
from rangemask.data.synthetic import random_scene, render
from rangemask.geometry import Rig
from rangemask.labels import LabelConfig, RunOptions, label_dataset
from rangemask.labels.work import Job, Task, Worker
from rangemask.structures.images import write_image

RIG = Rig.rectified(fx=600.0, cx=370.0, cy=249.5, baseline_m=0.12, width=741, height=500)


def make(root: Path, count: int) -> None:
    """Pairs on disk."""
    for side in ("left", "right"):
        (root / side).mkdir(parents=True)
    for number in range(count):
        frame = render(random_scene(number), RIG).frame
        assert frame.right is not None
        write_image(root / f"left/{number:04}.png", frame.left)
        write_image(root / f"right/{number:04}.png", frame.right)
    RIG.save(root / "rig.yaml")


def overhead(root: Path, count: int, quality: str) -> tuple[float, float]:
    """Seconds per frame of the bare teachers and of labelling."""
    stereo, masks = load_stereo("sgbm", quality=quality), load_masks("geometry")
    config = LabelConfig(stereo_options={"quality": quality})
    worker = Worker(Job(store=root, config=config, rig=RIG))
    worker.store.begin(
        list(worker.recipes.values()),
        classes=worker.teachers.classes,
        rig="rig.yaml",
        min_quality=0,
    )
    bare_s = label_s = 0.0
    tasks = [
        Task(
            source=FrameSource(
                name=f"{number:04}",
                left=root / f"left/{number:04}.png",
                right=root / f"right/{number:04}.png",
            )
        )
        for number in range(count)
    ]
    for number, task in enumerate(tasks):
        frame = task.source.read(RIG)
        before = time.perf_counter()
        match = stereo(frame)
        masks(frame, depth=depth_of_match(match, frame))
        between = time.perf_counter()
        # As a run does it: while this frame is looked at, the next one is read.
        if number + 1 < count:
            worker.read_ahead(tasks[number + 1])
        outcome = worker(task)
        after = time.perf_counter()
        assert outcome.what == "labelled", outcome
        if number:  # the first one warms up
            bare_s += between - before
            label_s += after - between
    worker.store.finish()
    return bare_s / (count - 1), label_s / (count - 1)


def on_ray(root: Path, output: Path, workers: int, quality: str) -> float:
    """Frames per second between the first and the last outcome, once all teachers are loaded."""
    times: list[float] = []

    def started(tasks: object) -> object:
        times.append(time.perf_counter())
        return lambda outcome: times.append(time.perf_counter())

    options = RunOptions(output=output, engine="ray", workers=workers)
    config = LabelConfig(stereo_options={"quality": quality})
    # One core each: a single worker would else take both.
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        label_dataset(root, config, options, progress=started)  # type: ignore[arg-type]
    finally:
        ray.shutdown()
    warm = workers  # the first frame of each worker
    return (len(times) - 1 - warm) / (times[-1] - times[warm])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--quality", choices=("fast", "best"), default="fast")
    parser.add_argument("--ray", action="store_true", help="also one and two workers of Ray")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        make(root, given.frames)
        bare_s, label_s = overhead(root, given.frames, given.quality)
        print(f"teachers alone  {1 / bare_s:6.2f} frames/s  {1000 * bare_s:6.1f} ms")
        print(f"labelling       {1 / label_s:6.2f} frames/s  {1000 * label_s:6.1f} ms")
        print(f"labelling adds  {100 * (label_s / bare_s - 1):6.1f} %")
        if given.ray:
            one = on_ray(root, Path(folder) / "one", 1, given.quality)
            two = on_ray(root, Path(folder) / "two", 2, given.quality)
            print(f"ray, 1 worker   {one:6.2f} frames/s")
            print(f"ray, 2 workers  {two:6.2f} frames/s  ({two / one:.2f} x)")


if __name__ == "__main__":
    main()
