"""Published files, and files that only look like them."""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rangemask.cli.main import main
from rangemask.errors import InputError
from rangemask.models.convert import convert_checkpoint
from rangemask.models.foundation_stereo.config import tiny_config
from rangemask.models.foundation_stereo.loading import BESIDE_WEIGHTS, load_foundation_stereo
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.weights import read_weights


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """By our names, but for what the authors' files hold beside them."""
    torch.manual_seed(0)
    state = dict(FoundationStereo(tiny_config()).state_dict())
    state["stem_4.1.weight"] = torch.zeros(2)
    state["context_zqr_convs.0.bias"] = torch.zeros(2)
    state["cnet.layer2.0.norm3.weight"] = torch.full((12,), 7.0)
    return state


def load(path: Path, **options: Any) -> FoundationStereo:
    network, source = load_foundation_stereo(path, device="cpu", config=tiny_config(), **options)
    assert source == path
    return network


def test_training_state_is_left_alone(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """Settings, counters and an optimiser beside the weights; none of it is run."""
    numpy = pytest.importorskip("numpy")
    omegaconf = pytest.importorskip("omegaconf")
    settings = omegaconf.OmegaConf.create({"vit_size": "vits", "hidden_dims": [128, 128], "a": 1.5})
    step = torch.nn.Parameter(torch.zeros(2))
    content = {
        "model": weights,
        "cfg": settings,
        "args": argparse.Namespace(lr=1.0),
        "global_step": numpy.int64(7),
        "loss": numpy.zeros(3),
        "optimizer": torch.optim.AdamW([step]).state_dict(),
    }
    path = tmp_path / "model_best_bp2.pth"
    torch.save(content, path)
    network = load(path)
    name = "cost_agg.conv1.0.conv.weight"
    torch.testing.assert_close(network.state_dict()[name], weights[name])
    with pytest.raises(InputError, match="refused, since reading it would run code"):
        read_weights(path)


def test_counters_may_be_missing_and_names_prefixed(
    weights: dict[str, Tensor], tmp_path: Path
) -> None:
    kept = {f"module.{n}": v for n, v in weights.items() if "num_batches_tracked" not in n}
    path = tmp_path / "a.pth"
    torch.save({"model": OrderedDict(kept)}, path)
    assert load(path, attention="heads").config.attention == "heads"


def test_safetensors_load(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({name: value.contiguous() for name, value in weights.items()}, path)
    assert not load(path).training


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", r"1 missing \(proj_cmb\.bias\)"),
        ("unknown", r"1 unknown \(head\.weight\)"),
        ("shape", r"1 of another shape \(proj_cmb\.bias is \[3\], not \[4\]\)"),
    ],
)
def test_files_are_loaded_strictly(
    weights: dict[str, Tensor], change: str, words: str, tmp_path: Path
) -> None:
    other = dict(weights)
    if change == "missing":
        del other["proj_cmb.bias"]
    elif change == "unknown":
        other["head.weight"] = torch.zeros(2)
    else:
        other["proj_cmb.bias"] = torch.zeros(3)
    path = tmp_path / "a.pth"
    torch.save({"model": other}, path)
    with pytest.raises(InputError, match=words):
        load(path)


def test_other_models_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"patch_embed.proj.weight": torch.zeros(384, 3, 14, 14)}, path)
    with pytest.raises(InputError, match=r"not the weights of FoundationStereo .* ViT-S/14"):
        load(path)


def test_settings_of_another_size_are_told(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": weights}, path)
    with pytest.raises(InputError, match="say vit_size vitl, but the weights are of nano"):
        load(path, vit="vitl")


class Foreign:
    """Something that nobody knows, as training code leaves it in its checkpoints."""


def test_converting_needs_to_be_asked_for(
    weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "a.pth", tmp_path / "a.safetensors"
    torch.save({"model": weights, "trainer": Foreign()}, path)
    with pytest.raises(InputError, match=r"rangemask convert FILE OUT\.safetensors --trust-pickle"):
        load(path)
    for arguments in (["convert", str(path), str(out)], ["convert", str(path), str(path)]):
        with pytest.raises(SystemExit) as failed:
            main(arguments)
        assert failed.value.code == 1
        assert not out.exists()
    assert "the result ends in .safetensors" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit) as done:
        main(["convert", str(path), str(out), "--trust-pickle"])
    assert done.value.code == 0
    assert f"{len(weights)} tensors" in " ".join(capsys.readouterr().out.split())
    assert not load(out).training


def test_safe_files_are_converted_without_trust(weights: dict[str, Tensor], tmp_path: Path) -> None:
    path, out = tmp_path / "a.pth", tmp_path / "b.safetensors"
    alias = weights["proj_cmb.bias"]
    torch.save({"a": alias, "b": alias, "args": argparse.Namespace()}, path)
    assert convert_checkpoint(path, out, inert=BESIDE_WEIGHTS) == 2
    assert set(read_weights(out)) == {"a", "b"}


def test_what_cannot_be_unpickled_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"model": {"a": torch.zeros(1)}, "trainer": Foreign()}, path)
    damaged = tmp_path / "b.pth"
    damaged.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="cannot be unpickled"):
        convert_checkpoint(damaged, tmp_path / "b.safetensors", trust_pickle=True)
