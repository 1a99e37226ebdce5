"""FoundationStereo on a processor: seconds and memory of one pair, on random weights.

    python benchmarks/foundation_stereo.py [--size small] [--threads 2] [--iterations 8]
        [--pairs 448x640 320x448] [--precision float32] [--hierarchical] [--repeats 3] [--json FILE]

Every row is a process of its own. Seconds are the best of all repeats, wall clock and CPU time of
all threads; memory is the largest resident set during the calls, above that with the weights
loaded. The published code, on two threads of such a machine, float32, 8 iterations, 416 px,
ViT-S: 39.8 s (76 s of CPU time) and 2.19 GB at 448 x 640; 17.2 s and 1.05 GB at 320 x 448.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rangemask.backends.stereo.foundation_stereo import (
    FoundationStereoMatcher,
    FoundationStereoOptions,
)
from rangemask.models.foundation_stereo.config import FoundationStereoConfig
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.loading import place
from rangemask.models.placement import PRECISIONS
from rangemask.structures import Passport, StereoFrame

STATUS = Path("/proc/self/status")
RESET_PEAK = Path("/proc/self/clear_refs")


def main() -> None:
    options = _options()
    if options.only:
        print(json.dumps(measure(options)))
        return
    rows = {}
    for pair in options.pairs:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", pair]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        rows[pair] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"ViT {options.size}, {options.threads} threads, {options.precision}, "
        f"{options.iterations} iterations, {options.max_disparity_px} px"
    )
    print(f"{'pair':>10} {'wall s':>7} {'CPU s':>7} {'GB above weights':>17}")
    for pair, row in rows.items():
        print(f"{pair:>10} {row['wall_s']:7.1f} {row['cpu_s']:7.1f} {row['gb']:17.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=["small", "large"], default="small")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--max-disparity-px", type=int, default=416)
    parser.add_argument("--pairs", nargs="+", default=["448x640", "320x448"], help="HxW")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="float32")
    parser.add_argument("--hierarchical", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(options.threads)
    height, width = (int(side) for side in options.only.split("x"))
    matcher = _matcher(options)
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (height, width + 20, 3), dtype=np.uint8)
    frame = StereoFrame(wide[:, :width].copy(), wide[:, 20:].copy())
    before = _kib("VmRSS")
    RESET_PEAK.write_text("5", encoding="ascii")  # the peak is counted from here
    wall, cpu = [], []
    for _ in range(options.repeats):
        start, used = time.perf_counter(), time.process_time()
        matcher(frame)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"wall_s": min(wall), "cpu_s": min(cpu), "gb": (_kib("VmHWM") - before) * 1024 / 1e9}


def _matcher(options: argparse.Namespace) -> FoundationStereoMatcher:
    torch.manual_seed(0)
    with torch.device("meta"):
        network = FoundationStereo(FoundationStereoConfig(vit=options.size))
    network.to_empty(device="cpu")
    dtype = PRECISIONS[options.precision]
    for name, value in network.state_dict().items():
        _fill(name, value)
    place(network, torch.device("cpu"), dtype)
    passport = Passport(
        role="stereo", model="foundation-stereo", licence="random", licence_class="unknown"
    )
    how = FoundationStereoOptions(
        iterations=options.iterations,
        max_disparity_px=options.max_disparity_px,
        hierarchical=options.hierarchical,
    )
    return FoundationStereoMatcher(network, passport, how, dtype)


def _fill(name: str, value: torch.Tensor) -> None:
    """As the golden cases are filled: uniform, of a spread that keeps what flows about 1."""
    if not value.is_floating_point():
        value.zero_()
        return
    value.uniform_(-math.sqrt(3), math.sqrt(3))
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "running_var":
        value.abs_().mul_(0.1).add_(1)
    elif leaf in {"running_mean", "bias"}:
        value.mul_(0.1 if leaf == "running_mean" else 0.05)
    elif leaf == "gamma" or value.ndim <= 1:
        value.mul_(0.1).add_(0.5 if leaf == "gamma" else 1)
    elif leaf in {"pos_embed", "cls_token"}:
        value.mul_(0.02)
    else:
        value.div_(math.sqrt(math.prod(value.shape[1:])))


def _kib(entry: str) -> int:
    line = next(x for x in STATUS.read_text(encoding="ascii").splitlines() if x.startswith(entry))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
