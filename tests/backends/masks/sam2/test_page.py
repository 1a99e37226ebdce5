"""The snippets of docs/sam2.md run, with tiny networks for the published ones."""

import re
from pathlib import Path

import pytest

from rangemask.backends.masks.sam2 import segmenter, video
from support.sam2 import nano_sam2, nano_sam2_video, tiny_detector


def test_the_page_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = repository / "docs" / "sam2.md"
    snippets = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) == 2
    monkeypatch.chdir(tmp_path)
    file = Path("sam2.1_hiera_tiny.pt")
    file.write_bytes(b"weights")
    tiny_detector(Path("grounding-dino-tiny"))
    monkeypatch.setattr(segmenter, "load_sam2", lambda *_, **__: (nano_sam2(), file))
    monkeypatch.setattr(video, "load_sam2_video", lambda *_, **__: (nano_sam2_video(), file))
    known: dict[str, object] = {}
    code = "\n".join(snippets).replace('"person"', '"chair"')
    # The tiny vocabulary has few words, "traffic", "light" and "chair" among them.
    exec(compile(code, str(page), "exec"), known)  # noqa: S102 - our own page


def test_the_numbers_of_the_page_are_the_defaults(repository: Path) -> None:
    page = (repository / "docs" / "sam2.md").read_text(encoding="utf-8")
    config = segmenter.Sam2MasksConfig()
    for name in ("points_per_side", "min_iou", "nms_iou", "min_region_px", "max_masks"):
        assert f"| `{name}` | {getattr(config, name)} |" in page
