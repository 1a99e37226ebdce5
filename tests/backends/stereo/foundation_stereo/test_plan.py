"""What is given up for memory, in which order, and that the real peak stays under the plan."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask import Pipeline
from rangemask.backends.residence import OutOfMemoryError, Residence
from rangemask.backends.stereo.foundation_stereo import (
    FoundationStereoMatcher,
    FoundationStereoOptions,
)
from rangemask.backends.stereo.foundation_stereo import matcher as matcher_module
from rangemask.backends.stereo.foundation_stereo.memory import NEEDS, Kind, working_bytes
from rangemask.backends.stereo.foundation_stereo.plan import Limits, Run, plan_run
from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import FoundationStereoConfig, tiny_config
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.loading import place
from rangemask.structures import Passport, StereoFrame

BENCHMARK = Path(__file__).resolve().parents[4] / "benchmarks" / "foundation_stereo.py"
PASSPORT = Passport(
    role="stereo", model="foundation-stereo", licence="none", licence_class="research-only"
)
KINDS = [Kind(large, half) for large in (False, True) for half in (False, True)]
SIDES = st.integers(64, 3000)
BUDGETS = st.integers(10**8, 2 * 10**10)
LAWS = settings(deadline=None, max_examples=40)


def limits(budget: int, kind: Kind = KINDS[0], device: str = "cpu") -> Limits:
    return Limits(budget_bytes=budget, weights_bytes=10**7, kind=kind, device=device)


def planned(height: int, width: int, given: Limits, **options: Any) -> Run | None:
    """The plan, or None where there is none."""
    try:
        return plan_run(
            FoundationStereoOptions(**options).completed({}), height, width, "pair", given
        )
    except InputError:
        return None


# laws


@LAWS
@given(SIDES, SIDES, BUDGETS, st.sampled_from(KINDS), st.sampled_from(["cpu", "cuda", "mps"]))
def test_plans_keep_to_the_budget(
    height: int, width: int, budget: int, kind: Kind, device: str
) -> None:
    run = planned(height, width, limits(budget, kind, device))
    if run is not None:
        assert run.peak_bytes is not None
        assert run.peak_bytes <= budget
        work = working_bytes(kind, run.height, run.width, run.max_disparity_px, device)
        assert run.peak_bytes == 10**7 + work


@LAWS
@given(SIDES, SIDES, BUDGETS, BUDGETS)
def test_more_memory_never_loses_quality(height: int, width: int, one: int, two: int) -> None:
    less = planned(height, width, limits(min(one, two)))
    more = planned(height, width, limits(max(one, two)))
    if less is not None:
        assert more is not None
        assert more.scale >= less.scale


@LAWS
@given(SIDES, SIDES, st.integers(0, 500), st.integers(0, 500), BUDGETS)
def test_larger_pairs_never_keep_more(
    height: int, width: int, taller: int, wider: int, budget: int
) -> None:
    small = planned(height, width, limits(budget))
    large = planned(height + taller, width + wider, limits(budget))
    if large is not None and small is not None:
        assert large.scale <= small.scale
    for kind in KINDS:
        need = working_bytes(kind, height, width, 416)
        assert working_bytes(kind, height + taller, width + wider, 416) >= need
        assert working_bytes(kind, height, width, 192) <= need


def test_quality_goes_last() -> None:
    """Enough memory changes nothing; what is asked for is the most that is planned."""
    for options in ({}, {"scale": 0.5}, {"hierarchical": True}):
        free = plan_run(FoundationStereoOptions(**options).completed({}), 480, 640, "pair")
        assert free.peak_bytes is None
        run = planned(480, 640, limits(10**11), **options)
        assert run is not None
        assert replace(run, peak_bytes=None) == free
    assert free.peak_bytes is None
    run = planned(1080, 1920, limits(10**9))
    assert run is not None
    assert 0.25 <= run.scale < 1
    assert (run.iterations, run.max_disparity_px) == (32, 416)
    assert run.height == round(1080 * run.scale)


def test_table_knows_every_kind() -> None:
    assert set(NEEDS) == set(KINDS)
    for large in (False, True):
        sizes = [working_bytes(Kind(large, half), 720, 1280, 416) for half in (True, False)]
        assert sizes[0] < sizes[1], "half the precision takes less"


def test_no_plan_in_words() -> None:
    options = FoundationStereoOptions().completed({})
    words = (
        r"pair: foundation-stereo needs (\d\.\d\d GB) for this pair of 1920 x 1080 px even at "
        r"scale 0\.25 \(0\.01 GB of it .* has 0\.10 GB of memory_budget\. Give memory_budget \1"
    )
    with pytest.raises(InputError, match=words):
        plan_run(options, 1080, 1920, "pair", limits(10**8))


# the matcher


@pytest.fixture(scope="module")
def network() -> FoundationStereo:
    torch.manual_seed(0)
    return FoundationStereo(tiny_config()).eval().requires_grad_(False)


def matcher(network: FoundationStereo, **options: Any) -> FoundationStereoMatcher:
    given = {"iterations": 1, "max_disparity_px": 32, **options}
    return FoundationStereoMatcher(network, PASSPORT, FoundationStereoOptions(**given))


def frame(height: int = 128, width: int = 160) -> StereoFrame:
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return StereoFrame(pixels[0], pixels[1], None, "pair")


def tight(network: FoundationStereo, share: float = 0.5) -> int:
    """A budget for which 128 x 160 px has to be scaled down."""
    weights = sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
    need = [working_bytes(KINDS[0], h, w, 32) for h, w in ((64, 64), (128, 160))]
    return round(weights + need[0] + share * (need[1] - need[0]))


def test_results_say_what_was_planned(
    network: FoundationStereo, caplog: pytest.LogCaptureFixture
) -> None:
    budget = tight(network)
    one = matcher(network, memory_budget=budget)
    with caplog.at_level(logging.INFO):
        match = one(frame())
        one(frame())
    assert match.run.scale < 1
    assert match.disparity.shape == (128, 160)
    assert match.max_disparity_px == pytest.approx(32 / match.run.scale)
    said = [record for record in caplog.records if "memory_budget" in record.getMessage()]
    assert len(said) == 1
    assert said[0].levelno == logging.WARNING
    assert "float32" in said[0].getMessage()
    assert match.passport.options["memory_budget"] == budget
    assert match.passport.options["scale"] == match.run.scale
    assert match.passport.options["expected_peak_bytes"] == match.run.peak_bytes
    assert "scale" not in one.passport.options, "that depends on the frame"
    plain = matcher(network)
    assert plain(frame()).passport == plain.passport == PASSPORT


def test_pipelines_share_a_budget(network: FoundationStereo) -> None:
    """Provenance holds the plan; on a processor the others' weights count."""
    residence = Residence(10**9)
    first, second = matcher(network), matcher(network)
    second.network = FoundationStereo(tiny_config()).eval()
    residence.admit(first)
    residence.admit(second)
    match = residence.ask(first, lambda: first(frame()))
    assert match.run.scale == 1
    assert first.passport.options["memory_budget"] == 10**9
    weights = sum(t.nbytes for t in (*network.parameters(), *network.buffers()))
    both = Residence(tight(network) + weights)
    for model in (first, second):
        both.admit(model)
    alone = Residence(tight(network) + weights)
    alone.admit(first)
    shared = both.ask(first, lambda: first(frame())).run
    own = alone.ask(first, lambda: first(frame())).run
    assert shared.scale < own.scale
    pipeline = Pipeline(stereo=first, masks=None, memory_budget=tight(network))
    options = pipeline(frame()).provenance.models[0].options
    assert options["memory_budget"] == tight(network)
    assert isinstance(options["scale"], float)
    assert options["scale"] < 1


def cuda_error() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def cpu_error() -> Exception:
    return RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")


@pytest.mark.parametrize("error", [cuda_error, cpu_error])
def test_memory_that_runs_out_names_the_budget(
    network: FoundationStereo, error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(*_: object, **__: object) -> None:
        raise error()

    monkeypatch.setattr(matcher_module, "infer", infer)
    one = matcher(network)
    with pytest.raises(OutOfMemoryError, match=r"ran out at 160 x 128 px .*--memory-budget 6GB"):
        one(frame())
    with pytest.raises(OutOfMemoryError, match="memory_budget"):
        Residence().ask(one, lambda: one(frame()))


def test_other_errors_pass(network: FoundationStereo, monkeypatch: pytest.MonkeyPatch) -> None:
    def infer(*_: object, **__: object) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(matcher_module, "infer", infer)
    with pytest.raises(RuntimeError, match="shapes differ"):
        matcher(network)(frame())


# real memory


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_the_real_peak_stays_under_the_plan() -> None:
    """ViT-S on a processor, in a process of its own, with a budget that makes it give up scale."""
    command = [sys.executable, str(BENCHMARK), "--only", "288x384", "--max-disparity-px", "192"]
    command += ["--iterations", "2", "--repeats", "1", "--threads", "1", "--memory-budget", "0.5GB"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0.25 <= found["scale"] < 1
    peak = found["weights_gb"] + found["gb"]
    assert peak <= found["expected_gb"] <= 0.5
    assert found["gb"] > 0.5 * (found["expected_gb"] - found["weights_gb"]), "not far too careful"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_720p_and_vit_l_fit_in_6_gb() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(6e9 / total, 1.0))
    try:
        torch.manual_seed(0)
        network = FoundationStereo(FoundationStereoConfig(vit="large"))
        place(network, torch.device("cuda"), torch.float16)
        options = FoundationStereoOptions(iterations=2, memory_budget="6GB")
        one = FoundationStereoMatcher(network, PASSPORT, options, torch.float16)
        torch.cuda.reset_peak_memory_stats()
        match = one(frame(720, 1280))
        assert match.run.scale == 1
        assert match.run.peak_bytes is not None
        assert torch.cuda.max_memory_allocated() <= match.run.peak_bytes <= 6e9
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
