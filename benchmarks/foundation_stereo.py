"""FoundationStereo on a processor: seconds and memory of one pair, on random weights.

    python benchmarks/foundation_stereo.py [--size small] [--threads 2] [--iterations 8]
        [--pairs 448x640 320x448] [--precision float32] [--hierarchical] [--repeats 3] [--json FILE]

    python benchmarks/foundation_stereo.py --memory [--quick]

Every row is a process of its own. Seconds are the best of all repeats, wall clock and CPU time of
all threads; memory is the largest resident set during the calls, above that with the weights
loaded. The published code, on two threads of such a machine, float32, 8 iterations, 416 px,
ViT-S: 39.8 s (76 s of CPU time) and 2.19 GB at 448 x 640; 17.2 s and 1.05 GB at 320 x 448.

With ``--memory`` it makes the table of ``backends/stereo/foundation_stereo/memory.py``: it counts
the tensors that are alive at the same time (without computing: any size takes seconds), fits the
coefficients so that no count is above them, and holds the result against resident sets that are
measured (``--quick``: without those), and on CUDA against ``max_memory_allocated``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linprog
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rangemask.backends.stereo.foundation_stereo import (
    FoundationStereoMatcher,
    FoundationStereoOptions,
)
from rangemask.backends.stereo.foundation_stereo.memory import (
    ALIVE_BYTES,
    Kind,
    Need,
    alive_bytes,
    row_bytes,
    working_bytes,
)
from rangemask.models.blocks import compute_in
from rangemask.models.foundation_stereo.config import FoundationStereoConfig
from rangemask.models.foundation_stereo.inference import infer
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.foundation_stereo.streaming import Slabs
from rangemask.models.loading import place
from rangemask.models.placement import PRECISIONS
from rangemask.structures import Passport, StereoFrame

STATUS = Path("/proc/self/status")
RESET_PEAK = Path("/proc/self/clear_refs")
Case = tuple[int, int, int]
"""Height, width, largest disparity."""
FEW_PX = 32
"""With so few disparities, the features take the most; with more than published, the volume."""
PUBLISHED_PX = 416
COUNTED: tuple[Case, ...] = (
    *((h, w, FEW_PX) for h, w in ((320, 448), (1088, 1920))),
    *((h, w, PUBLISHED_PX) for h, w in ((320, 448), (736, 1280))),
    (736, 1280, 320),
    *((320, 448, largest) for largest in (1024, 1536)),
)
MEASURED = (
    ("small", "320x448", 416),
    ("small", "448x640", 416),
    ("small", "448x640", 32),
    ("large", "320x448", 416),
    ("large", "320x448", 32),
)


def main() -> None:
    options = _options()
    if options.only:
        print(json.dumps(measure(options)))
        return
    if options.memory:
        memory_table(options)
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
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--memory-budget", help="such as 6GB")
    parser.add_argument("--memory", action="store_true", help="make the table of memory")
    parser.add_argument("--quick", action="store_true", help="count only, measure nothing")
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
    if options.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() // 1024
    else:
        RESET_PEAK.write_text("5", encoding="ascii")  # the peak is counted from here
    wall, cpu = [], []
    for _ in range(options.repeats):
        start, used = time.perf_counter(), time.process_time()
        run = matcher(frame).run
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    cuda = options.device == "cuda"
    peak = torch.cuda.max_memory_allocated() // 1024 if cuda else _kib("VmHWM")
    found = {"wall_s": min(wall), "cpu_s": min(cpu), "gb": (peak - before) * 1024 / 1e9}
    weights = (*matcher.network.parameters(), *matcher.network.buffers())
    found["weights_gb"] = sum(tensor.nbytes for tensor in weights) / 1e9
    return {**found, "scale": run.scale, "expected_gb": (run.peak_bytes or 0) / 1e9}


def _matcher(options: argparse.Namespace) -> FoundationStereoMatcher:
    torch.manual_seed(0)
    with torch.device("meta"):
        network = FoundationStereo(FoundationStereoConfig(vit=options.size))
    network.to_empty(device="cpu")
    dtype = PRECISIONS[options.precision]
    for name, value in network.state_dict().items():
        _fill(name, value)
    place(network, torch.device(options.device), dtype)
    passport = Passport(
        role="stereo", model="foundation-stereo", licence="random", licence_class="unknown"
    )
    how = FoundationStereoOptions(
        iterations=options.iterations,
        max_disparity_px=options.max_disparity_px,
        hierarchical=options.hierarchical,
        memory_budget=options.memory_budget,
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


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.known:
                    self.known[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._gone, storage._cdata)
        return found

    def _gone(self, key: int) -> None:
        self.now -= self.known.pop(key)


def count_alive(vit: str, precision: str, height: int, width: int, max_disparity_px: int) -> int:
    """Peak bytes above the weights; nothing is computed."""
    dtype = PRECISIONS[precision]
    with torch.device("meta"):
        network = FoundationStereo(FoundationStereoConfig(vit=vit))
    network.eval().requires_grad_(False)
    compute_in(network, dtype, one_head_at_a_time=False)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        network.to_empty(device="cpu")
        pair = [torch.zeros(1, height, width, 3).permute(0, 3, 1, 2) for _ in range(2)]
        alive = Alive()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32), alive:
            infer(
                network,
                *pair,
                iterations=2,  # from the second on there are old and new states
                max_disparity_px=max_disparity_px,
                slabs=Slabs(),
            )
    return alive.peak


def memory_table(options: argparse.Namespace) -> None:
    """Print coefficients, and how they compare to what is measured."""
    for vit in ("small", "large"):
        for precision in ("float32", "bfloat16"):
            counted = {case: count_alive(vit, precision, *case) for case in COUNTED}
            need = fit(counted)
            print(f"{vit} {precision}: Need({', '.join(f'{x:.1f}' for x in need)})")
            for (height, width, largest), peak in counted.items():
                said = alive_bytes(need, height, width, largest)
                print(f"    {height} x {width}, {largest} px: ", end="")
                print(f"{peak / 1e9:.3f} GB, fitted {said / 1e9:.3f}", flush=True)
    if options.quick:
        return
    precision = "float32" if options.device == "cpu" else "bfloat16"
    for vit, pair, largest in MEASURED:
        given = ("--only", pair, "--size", vit, "--max-disparity-px", str(largest))
        short = ("--iterations", "2", "--repeats", "1", "--device", options.device)
        threads = ("--precision", precision, "--threads", str(options.threads))
        command = [sys.executable, __file__, *given, *short, *threads]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
        height, width = (int(side) for side in pair.split("x"))
        kind = Kind(vit == "large", precision != "float32")
        said = working_bytes(kind, height, width, largest, options.device)
        gb = json.loads(done.stdout.splitlines()[-1])["gb"]
        print(f"{vit} {pair} {largest} px: measured {gb:.3f} GB, the table says {said / 1e9:.3f}")


def fit(counted: dict[Case, int]) -> Need:
    """The least coefficients that no count exceeds, phase by phase: linear programmes."""
    few, some, many = (
        {case: peak for case, peak in counted.items() if low < case[2] <= high}
        for low, high in ((0, FEW_PX), (FEW_PX, PUBLISHED_PX), (PUBLISHED_PX, math.inf))
    )
    features = max((peak - ALIVE_BYTES) / (case[0] * case[1]) for case, peak in few.items())
    volume = _least([_terms(case) for case in many], [peak - ALIVE_BYTES for peak in many.values()])
    refine = _least(
        [_terms(case) for case in some],
        [peak - ALIVE_BYTES - row_bytes(case[0], case[1]) for case, peak in some.items()],
    )
    return Need(features, *volume, *refine)


def _terms(case: Case) -> tuple[int, int]:
    height, width, largest = case
    return height * width, height * width // 16 * (largest // 4)


def _least(terms: list[tuple[int, ...]], peaks: list[float]) -> list[float]:
    design = np.asarray(terms, float) / 1e6
    found = linprog(design.sum(0), A_ub=-design, b_ub=-np.asarray(peaks, float) / 1e6)
    return [float(value) for value in found.x]


def _kib(entry: str) -> int:
    line = next(x for x in STATUS.read_text(encoding="ascii").splitlines() if x.startswith(entry))
    return int(line.split()[1])


if __name__ == "__main__":
    main()
