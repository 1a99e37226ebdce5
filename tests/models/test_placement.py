"""Devices and precisions by name."""

import pytest
import torch

from rangemask.errors import InputError
from rangemask.models.placement import find_device, find_precision, splits_heads

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(0, False, "cpu"), (0, True, "mps"), (2, True, "cuda")]
)
def test_auto_takes_the_best(
    cuda: int, mps: bool, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto") == torch.device(best)


def test_devices_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert find_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:one", "cpu:-1", "CPU", None])
def test_unknown_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"no device .*; expected auto, cpu, cuda, cuda:1 or mps"):
        find_device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7", "mps", "cpu:1", "meta", "xpu"])
def test_absent_devices_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=rf"device '{name}' is not there; `rangemask doctor`"):
        find_device(name)


def test_the_last_of_several_is_there_and_the_next_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device("cuda:1").index == 1
    with pytest.raises(InputError, match="'cuda:2' is not there"):
        find_device("cuda:2")


@pytest.mark.parametrize(
    ("wanted", "device", "dtype"),
    [
        ("auto", "cpu", torch.float32),
        ("auto", "cuda", torch.float16),
        ("auto", "mps", torch.float32),
        ("float32", "cuda", torch.float32),
        ("bfloat16", "cpu", torch.bfloat16),
        ("float16", "cpu", torch.float16),
    ],
)
def test_precisions_by_name(wanted: str, device: str, dtype: torch.dtype) -> None:
    assert find_precision(wanted, torch.device(device)) == dtype


@pytest.mark.parametrize("wanted", ["half", "fp16", "", "float64", torch.float16])
def test_unknown_precisions_are_refused(wanted: str) -> None:
    with pytest.raises(InputError, match="one of auto, float32, bfloat16, float16, got"):
        find_precision(wanted, CPU)


def test_only_processors_in_bfloat16_split_heads() -> None:
    assert splits_heads(CPU, torch.bfloat16)
    assert not splits_heads(CPU, torch.float32)
    assert not splits_heads(torch.device("cuda"), torch.bfloat16)
