from pathlib import Path

from rangemask.data import readers


def test_the_page_lists_every_kind_and_reader(repository: Path) -> None:
    page = (repository / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    kinds = [line.split("`")[1] for line in rows if "open_" in line]
    assert sorted(kinds) == sorted(readers.DATASET_KINDS)
    for name in readers.__all__:
        assert not name.startswith("open_") or f"`{name}(" in page or f" {name}(" in page, name
