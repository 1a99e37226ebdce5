"""Where published weights are said to be, and what is said while they are fetched."""

import logging
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from rangemask.backends.registry import DEPTH_ANYTHING, GROUNDING_DINO, SAM2
from rangemask.errors import InputError
from rangemask.models.presets import backbone_names
from rangemask.models.published import PUBLISHED, cached, fetch

NAME = "depth-anything-v2-base-metric-outdoor"
REPOSITORY = "depth-anything/Depth-Anything-V2-Metric-VKITTI-Base"
FILE = "depth_anything_v2_metric_vkitti_vitb.pth"


def hub(
    monkeypatch: pytest.MonkeyPatch, *, cached_at: Path | None, download: Path | Exception | None
) -> list[tuple[str, str, bool]]:
    """Stand in for the hub; gives the calls that it will have seen."""
    calls: list[tuple[str, str, bool]] = []

    def hf_hub_download(repository: str, file: str, *, local_files_only: bool = False) -> str:
        calls.append((repository, file, local_files_only))
        if local_files_only:
            if cached_at is None:
                raise LocalEntryNotFoundError("not in the cache")
            return str(cached_at)
        assert download is not None
        if isinstance(download, Exception):
            raise download
        return str(download)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    return calls


def test_what_is_cached_is_taken_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = hub(monkeypatch, cached_at=tmp_path, download=None)
    assert fetch(NAME) == tmp_path
    assert calls == [(REPOSITORY, FILE, True)]
    assert not caplog.records


def test_a_download_tells_size_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = hub(monkeypatch, cached_at=None, download=tmp_path)
    assert fetch(NAME) == tmp_path
    assert calls == [(REPOSITORY, FILE, True), (REPOSITORY, FILE, False)]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"{NAME}: downloading {FILE} from https://huggingface.co/{REPOSITORY} "
        "(390 MB, licence CC-BY-NC-4.0)"
    )


class TransportError(Exception):
    """Of a library that the hub uses today and not tomorrow."""


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("no connection\nmore lines"),
        OSError(28, "No space left on device"),
        TransportError("timed out"),
        ValueError(""),
    ],
)
def test_without_network_the_place_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    hub(monkeypatch, cached_at=None, download=error)
    with pytest.raises(InputError) as caught:
        fetch(NAME)
    message = str(caught.value)
    assert "\n" not in message
    assert f"could not be downloaded from https://huggingface.co/{REPOSITORY}" in message
    assert type(error).__name__ in message
    assert f"Download {FILE} there yourself and pass it as checkpoint." in message


def test_ctrl_c_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(NAME)


@pytest.mark.parametrize("name", ["dinov2-nano", "dinov2-small-registers", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"no weights are published for .*; give checkpoint=PATH"):
        fetch(name)


def test_every_model_but_ours_is_published() -> None:
    backbones = {name for name in backbone_names() if "nano" not in name}
    assert set(PUBLISHED) == backbones | {*DEPTH_ANYTHING, *SAM2, *GROUNDING_DINO}


def test_repositories_and_files() -> None:
    """As the authors' pages list them."""
    places = {name: (entry.repository, entry.file) for name, entry in PUBLISHED.items()}
    assert places["dinov2-giant"] == ("facebook/dinov2-giant", "model.safetensors")
    assert places["dinov2-small-reg"] == (
        "facebook/dinov2-with-registers-small",
        "model.safetensors",
    )
    assert places["depth-anything-v2-small"] == (
        "depth-anything/Depth-Anything-V2-Small",
        "depth_anything_v2_vits.pth",
    )
    assert places["depth-anything-v2-large-metric-indoor"] == (
        "depth-anything/Depth-Anything-V2-Metric-Hypersim-Large",
        "depth_anything_v2_metric_hypersim_vitl.pth",
    )
    assert places[NAME] == (REPOSITORY, FILE)
    assert places["sam2.1-base-plus"] == (
        "facebook/sam2.1-hiera-base-plus",
        "sam2.1_hiera_base_plus.pt",
    )
    assert len(set(places.values())) == len(places)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_licences(name: str) -> None:
    """All but the larger sizes of Depth Anything V2 are free; those are not for business."""
    free = name.startswith(("dinov2-", "depth-anything-v2-small", "sam2.1-", "grounding-dino-"))
    assert PUBLISHED[name].licence == ("Apache-2.0" if free else "CC-BY-NC-4.0")
    assert PUBLISHED[name].terms == ("commercial-ok" if free else "research-only")


def test_the_cache_is_read_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert cached(NAME) is None
    folder = tmp_path / f"models--{REPOSITORY.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc", encoding="utf-8")
    file = folder / "snapshots" / "abc" / FILE
    file.parent.mkdir(parents=True)
    assert cached(NAME) is None
    file.write_bytes(b"weights")
    assert cached(NAME) == file
