"""The snippets of docs/two-in-one.md."""

import re
from pathlib import Path
from typing import Any

import pytest

from rangemask.models.two_in_one.config import ENCODERS, SWIN


def test_the_page_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = repository / "docs" / "two-in-one.md"
    text = page.read_text(encoding="utf-8")
    known: dict[str, Any] = {}
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        exec(compile(snippet, str(page), "exec"), known)  # noqa: S102 - our own page
    assert known["both"].costs
    assert known["pair"].disparity.shape == (120, 160)


@pytest.mark.parametrize("encoder", [*ENCODERS, SWIN])
def test_the_page_lists_every_encoder(encoder: str, repository: Path) -> None:
    text = (repository / "docs" / "two-in-one.md").read_text(encoding="utf-8")
    assert f"| `{encoder}` |" in text
