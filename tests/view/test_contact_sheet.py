"""The page over a label store."""

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rangemask.errors import InputError
from rangemask.labels import LabelConfig, RunOptions, label_dataset
from rangemask.view.contact_sheet import write_contact_sheet
from support.datasets import stereo_dataset

FAST = LabelConfig(stereo_options={"quality": "fast"})


class Counter(HTMLParser):
    """Counts tags and checks that each opened one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images += 1
            assert dict(attrs)["alt"]
        elif tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = stereo_dataset(tmp_path_factory.mktemp("sheet") / "set", frames=4)
    label_dataset(root, FAST)
    return root


def test_a_page_shows_best_worst_rejected_and_failed(labelled: Path, tmp_path: Path) -> None:
    root = shutil.copytree(labelled, tmp_path / "set")
    (root / "right/f003.png").write_bytes(b"<script>alert(1)</script>")
    scores = sorted(
        float(score)
        for path in root.glob("records/*.json")
        for score in re.findall(r'"trust": ([\d.]+)', path.read_text())
    )
    label_dataset(root, FAST, RunOptions(min_quality=scores[1]))
    page = write_contact_sheet(root, each=1).read_text()
    parser = Counter()
    parser.feed(page)
    assert parser.open == []
    assert parser.images >= 3 * 4
    for title in ("Rejected", "Worst of the accepted", "Best", "Failed", "Scores"):
        assert f"<h2>{title}</h2>" in page
    assert "rejected for trust" in page
    assert "f003" in page
    assert "<script" not in page
    assert str(tmp_path) not in page.replace(str(root / "right/f003.png"), "")


def test_a_missing_label_is_said_in_its_place(labelled: Path, tmp_path: Path) -> None:
    root = shutil.copytree(labelled, tmp_path / "set")
    (root / "weight/f000.png").unlink()
    page = write_contact_sheet(root, tmp_path / "page.html").read_text()
    assert "weight/f000.png: expected an image file, but it does not exist" in page


def test_bad_requests_speak(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no labels"):
        write_contact_sheet(tmp_path)
    with pytest.raises(InputError, match="1 frame of each kind or more, got 0"):
        write_contact_sheet(tmp_path, each=0)
