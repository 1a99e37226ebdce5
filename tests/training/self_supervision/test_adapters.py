"""What learns, and that adapters are there, take part, and merge into a plain DINOv2."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.training.self_supervision.adapters import (
    adapt,
    adapter_state,
    has_adapters,
    load_adapters,
    merge_adapters,
    plain_state,
    save_adapters,
    set_checkpointing,
)
from rangemask.training.self_supervision.config import AdapterConfig

LORA = AdapterConfig(learned="lora", blocks=0, rank=4, alpha=8.0, mlp=True)


def tokens(backbone: Backbone) -> Tensor:
    shown = torch.rand(2, 3, 56, 42, generator=torch.Generator().manual_seed(3))
    return backbone.forward_features(shown).tokens[-1]


def stir(backbone: Backbone) -> None:
    """Give the adapters something to say."""
    random = torch.Generator().manual_seed(5)
    for name, parameter in backbone.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=random)


def learning(backbone: Backbone) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


def test_last_blocks_and_norm_learn(backbone: Backbone) -> None:
    adapt(backbone, AdapterConfig(learned="blocks", blocks=2))
    parts = {name.rsplit("vit.", 1)[1] for name in learning(backbone)}
    assert {part.split(".")[0] for part in parts} == {"blocks", "norm"}
    assert {part.split(".")[1] for part in parts if part.startswith("blocks")} == {"2", "3"}


@pytest.mark.parametrize("name", ["dinov2-nano", "dinov2-nano-reg"])
def test_adapters_start_as_nothing(name: str) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name)
    before = tokens(backbone)
    adapt(backbone, LORA)
    assert torch.equal(tokens(backbone), before)
    assert learning(backbone) == set(adapter_state(backbone))


@pytest.mark.parametrize("one_head_at_a_time", [False, True])
def test_every_adapted_matrix_takes_part(backbone: Backbone, one_head_at_a_time: bool) -> None:
    """Attention of our own calls its matrices; an adapter that is passed by would do nothing."""
    adapt(backbone, LORA)
    for block in backbone.vit.blocks:
        block.attn.one_head_at_a_time = one_head_at_a_time
    before = tokens(backbone)
    factors = {name: p for name, p in backbone.named_parameters() if "lora_B" in name}
    assert len(factors) == 4 * backbone.depth
    random = torch.Generator().manual_seed(1)
    for name, factor in factors.items():
        # Not one number for all channels: the final norm would take that away again.
        factor.data.normal_(std=0.1, generator=random)
        assert (tokens(backbone) - before).abs().mean() > 1e-3, name
        factor.data.zero_()


def test_a_gradient_reaches_every_adapter(backbone: Backbone) -> None:
    adapt(backbone, LORA)
    stir(backbone)
    tokens(backbone).square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == ("lora_" in name)


def test_only_the_last_blocks_get_adapters(backbone: Backbone) -> None:
    adapt(backbone, AdapterConfig(learned="lora", blocks=1))
    assert {name.split("blocks.")[1].split(".")[0] for name in learning(backbone)} == {"3"}
    assert all(".attn." in name for name in learning(backbone))


def test_merged_says_what_unmerged_says(backbone: Backbone) -> None:
    plain = set(backbone.state_dict())
    adapt(backbone, LORA)
    stir(backbone)
    before, state = tokens(backbone), plain_state(backbone)
    assert set(state) == plain
    assert has_adapters(backbone)

    fresh = build_backbone("dinov2-nano").eval()
    fresh.load_state_dict(state)
    torch.testing.assert_close(tokens(fresh), before, atol=1e-4, rtol=1e-4)

    merge_adapters(backbone)
    assert not has_adapters(backbone)
    assert torch.equal(tokens(backbone), tokens(fresh))
    assert set(backbone.state_dict()) == plain


def test_saved_adapters_come_back(backbone: Backbone, tmp_path: Path) -> None:
    start = {name: value.clone() for name, value in backbone.state_dict().items()}
    adapt(backbone, LORA)
    stir(backbone)
    path = tmp_path / "adapters.safetensors"
    save_adapters(path, backbone, LORA)
    assert path.stat().st_size < sum(v.nbytes for v in start.values()) / 3

    fresh = build_backbone("dinov2-nano").eval()
    fresh.load_state_dict(start)
    assert load_adapters(path, fresh) == LORA
    assert torch.equal(tokens(fresh), tokens(backbone))


def test_checkpointing_gives_the_same_gradients(backbone: Backbone) -> None:
    adapt(backbone, AdapterConfig(learned="blocks", blocks=3))
    found = []
    for enable in (False, True):
        set_checkpointing(backbone, enable=enable)
        calls: list[int] = []
        handle = backbone.vit.blocks[-1].mlp.register_forward_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        backbone.zero_grad()
        tokens(backbone).square().sum().backward()
        handle.remove()
        assert len(calls) == 1 + enable  # it is computed again, and so it is really on
        found.append({n: p.grad.clone() for n, p in backbone.named_parameters() if p.requires_grad})
    for name, gradient in found[0].items():
        assert gradient.any(), name
        assert torch.equal(gradient, found[1][name]), name


def test_bad_input_speaks(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 4 blocks"):
        adapt(backbone, AdapterConfig(learned="blocks", blocks=5))
    with pytest.raises(InputError, match="no adapters to save"):
        save_adapters(tmp_path / "a.safetensors", backbone, LORA)
    with pytest.raises(InputError, match="no adapters can be read"):
        load_adapters(tmp_path / "absent.safetensors", backbone)
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="holds no adapters"):
        load_adapters(tmp_path / "other.safetensors", backbone)
    adapt(backbone, LORA)
    with pytest.raises(InputError, match="adapters already"):
        adapt(backbone, LORA)
    save_adapters(tmp_path / "a.safetensors", backbone, LORA)
    larger = build_backbone("dinov2-small")
    with pytest.raises(InputError, match="96 wide with 4 blocks, this one is 384"):
        load_adapters(tmp_path / "a.safetensors", larger)
    state = adapter_state(backbone)
    state.popitem()
    about = {"kind": "rangemask backbone adapters"}
    told = '{"blocks": 0, "rank": 4, "alpha": 8.0, "mlp": true, "width": 96, "depth": 4}'
    save_file(state, tmp_path / "part.safetensors", metadata=about | {"adapters": told})
    with pytest.raises(InputError, match="do not fit"):
        load_adapters(tmp_path / "part.safetensors", build_backbone("dinov2-nano"))
