"""One pass of a student against separate models for depth and masks, on random weights.

    python benchmarks/one_pass.py [--threads 2] [--repeats 5] [--device cpu] [--precision float32]
                                  [--size 518] [--skip-memory] [--json FILE]

The student is the small preset with depth, automatic masks, semantic (21 classes, ids at full
size) and fusion heads, batch 1. The separate models are those of transformers: Depth Anything
(small, the same input) and SAM 2.1 (tiny, 1024 x 1024, image encoding and one point). All runs
take turns; a time is the best of its runs. ``reduced`` is bfloat16 on a processor and float16
on CUDA.

``objects`` compares 100 queries, all of them taken as objects (discs of all sizes, since random
weights find none) whose masks are brought to full size, with 1. ``point`` is one point on a
cached embedding against encoding the image for it.

Peak memory is measured in a process of its own per column: the largest resident size while
running, above that with the weights loaded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Sam2Config,
    Sam2Model,
)

from rangemask.models.config import RangeMaskConfig
from rangemask.models.heads.masks.merging import instances, masks_at_size
from rangemask.models.heads.semantic import semantic_ids
from rangemask.models.loading import place
from rangemask.models.placement import splits_heads
from rangemask.models.rangemask import RangeMask, RangeMaskOutput, build_rangemask

HEADS = ("depth", "masks", "semantic", "fusion")
CLASSES = tuple(f"class {i}" for i in range(21))
SAM_PX = 1024
MIB = 1 << 20
Run = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", help="of the separate models")
    parser.add_argument("--size", type=int, default=518, help="of the square input, px")
    parser.add_argument("--skip-memory", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    bench = Bench(torch.device(options.device), options.size, options.precision)
    if options.memory_of:
        print(json.dumps(bench.memory_of(options.memory_of)))
        return
    with torch.inference_mode():
        seconds = bench.times(options.repeats)
        errors = bench.errors()
    memory = {} if options.skip_memory else memory_of_all(options)
    print(table(seconds, errors, memory))
    if options.json:
        values = {"seconds": seconds, "relative_errors": errors, "peak_mib": memory}
        options.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


class Bench:
    """The models, built when they are asked for.

    Args:
        device: where all run.
        size_px: side of the input.
        precision: of the separate models.
    """

    def __init__(self, device: torch.device, size_px: int, precision: str) -> None:
        self.device = device
        self.size_px = size_px
        self.dtype = getattr(torch, precision)
        self.reduced = torch.float16 if device.type == "cuda" else torch.bfloat16
        self.images = torch.rand(1, 3, size_px, size_px, device=device)

    def student(
        self, dtype: torch.dtype, *, queries: int = 100, prompts: bool = False
    ) -> RangeMask:
        """A small student with random weights."""
        torch.manual_seed(0)
        heads = (*HEADS, "prompts") if prompts else HEADS
        config = RangeMaskConfig.preset("small", heads, classes=CLASSES)
        values = config.to_dict()
        values["masks"]["queries"] = queries
        model = build_rangemask(RangeMaskConfig.from_dict(values))
        for block in model.backbone.vit.blocks:  # random weights, but not idle blocks
            torch.nn.init.constant_(block.ls1.gamma, 0.3)
            torch.nn.init.constant_(block.ls2.gamma, 0.3)
        place(model, self.device, dtype)
        model.compute_in(dtype, one_head_at_a_time=splits_heads(self.device, dtype))
        return model

    def one_pass(self, model: RangeMask) -> RangeMaskOutput:
        """Everything the heads say, the semantic map at full size."""
        output: RangeMaskOutput = model(self.images)
        assert output.semantic_logits is not None
        semantic_ids(output.semantic_logits, (self.size_px, self.size_px))
        return output

    def with_objects(self, model: RangeMask) -> object:
        """The pass, and all queries as objects at full size: sure ones, with discs for masks."""
        found = self.one_pass(model).masks
        assert found is not None
        sure = torch.zeros_like(found.class_logits, dtype=torch.float32)
        sure[..., 0] = 20
        (every,) = instances(sure, discs(found.mask_logits))
        assert len(every.labels) == found.mask_logits.shape[1], "not all queries were objects"
        return masks_at_size(every.mask_logits, self.size_px, self.size_px)

    def depth_anything(self) -> Run:
        """Transformers' Depth Anything, small."""
        encoder = Dinov2Config(
            hidden_size=384,
            num_attention_heads=6,
            image_size=518,
            patch_size=14,
            out_indices=[3, 6, 9, 12],
            reshape_hidden_states=False,
            apply_layernorm=True,
        )
        model = DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=encoder))
        model = model.to(self.device, self.dtype).train(False)
        images = self.images.to(self.dtype)
        return lambda: model(images)

    def sam2(self) -> Run:
        """Transformers' SAM 2.1 tiny: encoding, and one point."""
        model = Sam2Model(Sam2Config()).to(self.device, self.dtype).train(False)
        images = torch.rand(1, 3, SAM_PX, SAM_PX, device=self.device, dtype=self.dtype)
        point = torch.full((1, 1, 1, 2), 500.0, device=self.device, dtype=self.dtype)
        label = torch.ones(1, 1, 1, dtype=torch.int64, device=self.device)
        return lambda: model(pixel_values=images, input_points=point, input_labels=label)

    def times(self, repeats: int) -> dict[str, float]:
        """Best seconds of runs that take turns."""
        full, reduced = self.student(torch.float32), self.student(self.reduced)
        single = self.student(torch.float32, queries=1)
        prompted = self.student(torch.float32, prompts=True)
        embedding = prompted(self.images, heads=["prompts"]).prompts
        where = torch.full((1, 1, 1, 2), 250.0, device=self.device)
        label = torch.ones(1, 1, 1, dtype=torch.int64, device=self.device)
        size = (self.size_px, self.size_px)
        runs: dict[str, Run] = {
            "one pass": lambda: self.one_pass(full),
            "Depth Anything": self.depth_anything(),
            "SAM 2.1": self.sam2(),
            "backbone": lambda: full.backbone.forward_features(self.images),
            "one pass reduced": lambda: self.one_pass(reduced),
            "backbone reduced": lambda: reduced.backbone.forward_features(self.images),
            "100 objects": lambda: self.with_objects(full),
            "1 object": lambda: self.with_objects(single),
            "prompt encoding": lambda: prompted(self.images, heads=["prompts"]),
            "point": lambda: prompted.prompts.predict(
                embedding, image_size=size, points=where, point_labels=label, multimask=False
            ),
            **{
                f"only {head}": lambda head=head: full(self.images, heads=[head])
                for head in ("depth", "masks", "semantic")
            },
            "without fusion": lambda: full(self.images, fusion=False),
        }
        best = dict.fromkeys(runs, float("inf"))
        for _ in range(repeats + 1):  # the first round warms up as well
            for name, run in runs.items():
                best[name] = min(best[name], self.seconds(run))
        return best

    def seconds(self, run: Run) -> float:
        """Of one run."""
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def errors(self) -> dict[str, float]:
        """Relative error ||reduced - float32|| / ||float32|| of what the heads say."""
        exact, rounded = (
            self.student(dtype)(self.images) for dtype in (torch.float32, self.reduced)
        )
        pairs = {
            "depth": (exact.depth, rounded.depth),
            "mask logits": (exact.masks.mask_logits, rounded.masks.mask_logits),
            "class logits": (exact.masks.class_logits, rounded.masks.class_logits),
            "semantic logits": (exact.semantic_logits, rounded.semantic_logits),
        }
        return {
            name: float((other.float() - one).norm() / one.norm())
            for name, (one, other) in pairs.items()
        }

    def memory_of(self, what: str) -> dict[str, float]:
        """MiB: with the weights loaded, and the peak of one run above that."""
        if what == "separate models":
            runs = [self.depth_anything(), self.sam2()]
        else:
            dtype = torch.float32 if what == "one pass" else self.reduced
            runs = [partial(self.one_pass, self.student(dtype))]
        if self.device.type == "cuda":
            loaded = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            loaded = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        with torch.inference_mode():
            for run in runs:
                run()
        cuda = self.device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else resident("VmHWM")
        return {"loaded": loaded / MIB, "above": (peak - loaded) / MIB}


def discs(like: Tensor) -> Tensor:
    """Logits of discs of all sizes up to half the image, shaped (1, N, h, w)."""
    _, count, height, width = like.shape
    random = torch.Generator().manual_seed(0)
    x, y, radius = torch.rand(3, count, 1, 1, generator=random).to(like.device)
    rows = torch.linspace(0, 1, height, device=like.device)[None, :, None]
    columns = torch.linspace(0, 1, width, device=like.device)[None, None]
    distance = ((columns - x) ** 2 + (rows - y) ** 2).sqrt()
    return (20 * (0.05 + radius / 2 - distance))[None]


def resident(which: str) -> int:
    """Bytes of this process, from Linux."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(which):
            return int(line.split()[1]) * 1024
    raise SystemExit("memory is measured on Linux only: pass --skip-memory")


def memory_of_all(options: argparse.Namespace) -> dict[str, Any]:
    """Each column in a process of its own."""
    given = [
        f"--{name}={getattr(options, name)}" for name in ("threads", "device", "precision", "size")
    ]
    result = {}
    for what in ("one pass", "one pass reduced", "separate models"):
        command = [sys.executable, __file__, *given, f"--memory-of={what}"]
        done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        result[what] = json.loads(done.stdout)
    return result


def table(
    seconds: dict[str, float], errors: dict[str, float], memory: dict[str, dict[str, float]]
) -> str:
    """The figures as Markdown."""
    s = seconds
    separate = s["Depth Anything"] + s["SAM 2.1"]
    rows = [
        ("Depth Anything + SAM 2.1", f"{s['Depth Anything']:.3f} + {s['SAM 2.1']:.3f} s"),
        ("one pass, float32", f"{s['one pass']:.3f} s, {separate / s['one pass']:.1f} x faster"),
        (
            "heads over the backbone",
            f"{s['one pass'] / s['backbone'] - 1:.2f} x of {s['backbone']:.3f} s",
        ),
        *((name, f"{s[name]:.3f} s") for name in ("only depth", "only masks", "only semantic")),
        ("without fusion", f"{s['without fusion']:.3f} s"),
        (
            "one pass, reduced precision",
            f"{s['one pass reduced']:.3f} s, {s['one pass'] / s['one pass reduced']:.1f} x faster "
            f"than float32, {1 / s['one pass reduced']:.1f} frames/s",
        ),
        ("backbone, reduced precision", f"{s['backbone reduced']:.3f} s"),
        ("its errors", ", ".join(f"{name} {100 * e:.2f} %" for name, e in errors.items())),
        ("100 objects over 1", f"{s['100 objects'] / s['1 object']:.2f} x"),
        (
            "one point over encoding",
            f"{s['point'] * 1e3:.1f} ms, {100 * s['point'] / s['prompt encoding']:.1f} %",
        ),
        *(
            (f"peak above the weights, {name}", f"{m['above']:.0f} MiB ({m['loaded']:.0f} loaded)")
            for name, m in memory.items()
        ),
    ]
    return "| figure | measured |\n| --- | --- |\n" + "\n".join(
        f"| {name} | {value} |" for name, value in rows
    )


if __name__ == "__main__":
    main()
