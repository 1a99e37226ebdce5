"""Reading files of weights: what works, what is refused, and in which words."""

import argparse
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from rangemask.errors import InputError
from rangemask.models.weights import find_weights, load_strictly, read_weights, sha256_of

WEIGHTS = {"first.weight": torch.arange(6.0).view(2, 3), "steps": torch.tensor(7)}


def same(found: dict[str, Tensor], expected: dict[str, Tensor] = WEIGHTS) -> bool:
    return list(found) == list(expected) and all(
        torch.equal(found[name], expected[name]) for name in expected
    )


def saved(path: Path, content: Any, *, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


# Which file it is


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.pth: no such checkpoint. Give a file or a"):
        find_weights(tmp_path / "nowhere.pth")


def test_a_wrong_suffix_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"ends in \.safetensors, \.pth.*; this ends in \.onnx"):
        find_weights(tmp_path / "weights.onnx")
    (tmp_path / "weights").write_bytes(b"x")
    with pytest.raises(InputError, match="this ends in nothing"):
        find_weights(tmp_path / "weights")


def test_a_folder_gives_its_only_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no checkpoint"):
        find_weights(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    one = saved(tmp_path / "one.pth", WEIGHTS)
    assert find_weights(str(tmp_path)) == one
    two = saved(tmp_path / "two.PTH", WEIGHTS)
    with pytest.raises(InputError, match=r"several checkpoints \(one\.pth, two\.PTH\); name one"):
        find_weights(tmp_path)
    assert find_weights(two) == two
    safe = tmp_path / "mine.safetensors"
    save_file(WEIGHTS, safe)
    assert find_weights(tmp_path) == safe
    usual = tmp_path / "model.safetensors"
    save_file(WEIGHTS, usual)
    assert find_weights(tmp_path) == usual


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saved(tmp_path / "one.pth", WEIGHTS)
    assert same(read_weights("~/one.pth"))


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "one.pth").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "one.pth") == sha256_of(tmp_path) == known


# What can be read


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model_state_dict": weights},
        lambda weights: {"model": weights, "optimizer": {"state": {0: {"exp": torch.ones(3)}}}},
        lambda weights: {"teacher": weights, "student": {"other": torch.ones(2)}},
        lambda weights: {"model": {"state_dict": weights}, "global_step": 1000},
        lambda weights: {**weights, "version": "1.0", "notes": ["a", "b"]},
    ],
)
def test_wrapped_weights_are_found(
    tmp_path: Path, wrap: Callable[[dict[str, Tensor]], Any], legacy: bool
) -> None:
    assert same(read_weights(saved(tmp_path / "one.pth", wrap(WEIGHTS), legacy=legacy)))


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.BIN"])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    save_file(WEIGHTS, tmp_path / name)
    assert same(dict(sorted(read_weights(tmp_path / name).items())))


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_may_be_called_safetensors(tmp_path: Path, legacy: bool) -> None:
    assert same(read_weights(saved(tmp_path / "a.safetensors", WEIGHTS, legacy=legacy)))


def test_parameters_come_without_gradients(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    found = read_weights(saved(tmp_path / "a.pt", {"weight": weight}))
    assert not found["weight"].requires_grad


# What is refused


class Runs:
    """Pickles as a call of the system's shell."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


def as_torch(path: Path, content: Any) -> None:
    torch.save(content, path)


def as_old_torch(path: Path, content: Any) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [as_torch, as_old_torch, as_pickle])
@pytest.mark.parametrize("beside", [False, True])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, write: Callable[[Path, Any], None], beside: bool
) -> None:
    trace = tmp_path / "trace"
    command = f"\"{sys.executable}\" -c \"open(r'{trace}', 'w').close()\""
    evil = Runs(command)
    write(tmp_path / "evil.pth", {"model": WEIGHTS, "extra": evil} if beside else evil)
    with pytest.raises(InputError, match=r"evil\.pth: .*refused, since reading it would run code"):
        read_weights(tmp_path / "evil.pth")
    assert not trace.exists()
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - what it would have done
    assert trace.exists()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ({"model": WEIGHTS, "args": argparse.Namespace(lr=1)}, "argparse.Namespace"),
        ({"model": WEIGHTS, "best": np.float64(1)}, "scalar"),
        ({"weight": np.zeros(3)}, "_reconstruct"),
        ({"model": WEIGHTS, "folder": Path("x")}, "pathlib"),
    ],
)
def test_objects_beside_weights_are_refused_by_name(
    tmp_path: Path, content: Any, named: str
) -> None:
    words = rf"holds [\w.]*{named}[\w.]* beside or instead of tensors.*save its state dict alone"
    with pytest.raises(InputError, match=words):
        read_weights(saved(tmp_path / "one.pth", content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello", "holds a str, expected tensors by name"),
        ([torch.ones(2)], "holds a list, expected tensors by name"),
        (torch.ones(2), "holds a Tensor, expected tensors by name"),
        ({}, "holds no tensors but nothing"),
        ({"epoch": 3, "net": {"a": torch.ones(2)}}, "holds no tensors but only epoch, net"),
    ],
)
def test_what_is_no_state_dict_is_told(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_weights(saved(tmp_path / "one.pth", content))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_off_checkpoint_is_told(tmp_path: Path, legacy: bool, share: float) -> None:
    path = saved(tmp_path / "one.pth", {"weight": torch.ones(40, 50)}, legacy=legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"one\.pth: cannot be read.*Copy or download it again"):
        read_weights(path)


@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.999])
def test_a_cut_off_safetensors_file_is_told(tmp_path: Path, share: float) -> None:
    path = tmp_path / "one.safetensors"
    save_file({"weight": torch.ones(40, 50)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"cannot be read as safetensors; its \d+ bytes are dam"):
        read_weights(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html>404", "a web page: the download was refused"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "a Git LFS pointer to one; run",
        ),
        (b"\x1f\x8b\x08\x00", "a gzip archive; unpack it"),
        (b"\x89HDF\r\n", "an HDF5 file; take the PyTorch"),
        (b"These are my notes.\n", r"cannot be read as .*; its 20 bytes are damaged"),
        (bytes(range(200, 256)), "cannot be read as"),
    ],
)
def test_what_is_no_checkpoint_is_told(
    tmp_path: Path, content: bytes, words: str, suffix: str
) -> None:
    path = tmp_path / f"one{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_weights(path)


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "one.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="cannot be read as a PyTorch checkpoint"):
        read_weights(tmp_path / "one.pth")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the system does not refuse")
def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "one.pth", WEIGHTS)
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be opened"):
        read_weights(path)


def test_a_file_that_cannot_be_opened_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Iterator[bytes]:
        raise PermissionError(13, "Permission denied")

    path = saved(tmp_path / "one.pth", WEIGHTS)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot be opened \(Permission denied\)"):
        read_weights(path)


@pytest.fixture(scope="module")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes]]:
    folder = tmp_path_factory.mktemp("fuzz")
    new = saved(folder / "new.pth", WEIGHTS).read_bytes()
    old = saved(folder / "old.pth", WEIGHTS, legacy=True).read_bytes()
    save_file(WEIGHTS, folder / "a.safetensors")
    return folder, [new, old, (folder / "a.safetensors").read_bytes()]


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_bytes_never_escape_as_something_else(
    small_files: tuple[Path, list[bytes]], data: st.DataObject
) -> None:
    """Bytes changed anywhere: the file is read, or refused in words; nothing else happens."""
    folder, originals = small_files
    content = bytearray(data.draw(st.sampled_from(originals)))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"spoilt{threading.get_ident()}.pth"
    path.write_bytes(content)
    try:
        found = read_weights(path)
    except InputError:
        return
    assert all(isinstance(value, Tensor) for value in found.values())


# Into a module


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: torch.full_like(value, 2) for name, value in module.state_dict().items()}


def load(module: nn.Module, weights: dict[str, Tensor]) -> None:
    load_strictly(module, weights, name="toy", source="toy.pth")


def test_weights_are_copied(module: nn.Module) -> None:
    weights = weights_of(module)
    load(module, weights)
    weights["0.weight"].zero_()
    assert all((value == 2).all() for value in module.state_dict().values())
    assert module.state_dict()["1.num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_converted(module: nn.Module, dtype: torch.dtype) -> None:
    weights = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in weights_of(module).items()
    }
    load(module, weights)
    assert all(value.dtype == torch.float32 for value in module.parameters())
    assert all((value == 2).all() for value in module.parameters())


def test_eight_bit_weights_are_converted(module: nn.Module) -> None:
    weights = weights_of(module)
    weights["0.weight"] = weights["0.weight"].to(torch.float8_e4m3fn)
    load(module, weights)
    assert (module.state_dict()["0.weight"] == 2).all()


def test_differing_entries_are_named(module: nn.Module) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    weights = weights_of(module)
    del weights["0.bias"]
    weights["1.weight"] = torch.ones(5)
    weights["head.weight"] = torch.ones(2)
    with pytest.raises(InputError) as caught:
        load(module, weights)
    assert str(caught.value) == (
        "toy.pth: these are not the weights of toy; of 7 entries 1 of another shape (1.weight is "
        "[5], not [4]); 1 missing (0.bias); 1 unknown (head.weight). The file looks like an "
        "unknown model of 7 entries (0.weight, 1.bias)."
    )
    assert same(module.state_dict(), before)


def test_no_more_than_three_entries_are_named(module: nn.Module) -> None:
    with pytest.raises(InputError, match=r"7 missing \(0.weight, 0.bias, 1.weight\); 9 unknown"):
        load(module, {f"x{index}": torch.ones(1) for index in range(9)})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused(
    module: nn.Module, bad: float, dtype: torch.dtype
) -> None:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    weights = weights_of(module)
    weights["1.bias"] = weights["1.bias"].to(dtype)
    weights["1.bias"][2] = bad
    with pytest.raises(InputError, match=r"toy\.pth: 1\.bias holds NaN or infinite weights"):
        load(module, weights)
    assert same(module.state_dict(), before)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda value: value.to(torch.int8),
        lambda value: value.to_sparse(),
        lambda value: value.to("meta"),
    ],
)
def test_weights_of_another_kind_are_refused(
    module: nn.Module, spoil: Callable[[Tensor], Tensor]
) -> None:
    weights = weights_of(module)
    weights["0.weight"] = spoil(weights["0.weight"])
    with pytest.raises(InputError, match=r"0\.weight is of type .*, expected plain torch.float32"):
        load(module, weights)


def test_a_module_without_memory_gets_it() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weights = {
        name: torch.full(value.shape, 2, dtype=value.dtype)
        for name, value in module.state_dict().items()
    }
    load(module, weights)
    assert all(value.device.type == "cpu" for value in module.state_dict().values())
    assert all((value == 2).all() for value in module.state_dict().values())


def test_buffers_outside_the_file_are_not_left_as_rubbish() -> None:
    """Memory that no file fills would hold anything: that is a defect of ours, and told."""
    with torch.device("meta"):
        module = nn.Linear(2, 2)
        module.register_buffer("table", torch.zeros(3), persistent=False)
    with pytest.raises(TypeError, match="toy has buffers outside its state dict"):
        load(module, {"weight": torch.ones(2, 2), "bias": torch.ones(2)})
