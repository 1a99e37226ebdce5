"""Records, recipes and the manifest: plain values and back; strange ones speak."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rangemask.data.store import FileMark, FrameRecord, LabelFile, LabelStore, Recipe, open_labels
from rangemask.data.store.manifest import Manifest, read_manifest, summary_of, write_manifest
from rangemask.errors import InputError
from rangemask.structures import Passport

SGBM = Passport(role="stereo", model="sgbm", licence="Apache-2.0", licence_class="commercial-ok")
BIG = Passport(
    role="stereo",
    model="foundation-stereo",
    licence="NVIDIA non-commercial",
    licence_class="research-only",
    weights="a.pth",
    weights_sha256="77",
    options={"iterations": 32},
)


def mark(path: str = "left/a.png") -> FileMark:
    return FileMark(path=path, size_bytes=3, sha256="ab")


def record(name: str = "a", recipe: str = "k", **changes: object) -> FrameRecord:
    whole = FrameRecord(
        name=name,
        status="labelled",
        sequence="s",
        width=4,
        height=3,
        images={"left": mark()},
        files={"masks": LabelFile(mark=mark("masks/a.json"), recipe=recipe, details={"x": 1})},
        quality={"trust": 0.5, "coverage": 0.25},
        seen={"sources": [["a.png", 3, 9]]},
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_records_come_back_equal_and_seen_stays_at_home() -> None:
    one = record()
    plain = json.loads(json.dumps(one.to_dict()))
    assert FrameRecord.from_dict(plain) == one
    assert "seen" not in one.to_dict(seen=False)
    assert one.score == 0.25
    assert one.weakest == "coverage"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../a.png", "masks/../../a.json", "C:/a.png", "masks\\a.json"]
)
def test_paths_that_climb_out_are_not_followed(path: str) -> None:
    with pytest.raises(InputError, match="leaves the folder of the labels"):
        mark(path)


def test_impossible_records_speak() -> None:
    with pytest.raises(InputError, match="status must be one of"):
        record(status="perhaps")
    with pytest.raises(InputError, match="quality trust must lie within"):
        record(quality={"trust": 1.5})


def test_a_recipe_is_known_by_what_it_does_not_by_the_version_of_the_program() -> None:
    one = Recipe(kinds=("disparity",), models=(SGBM,), options={"a": 1}, rangemask_version="1")
    assert Recipe.from_dict(json.loads(json.dumps(one.to_dict()))).key == one.key
    assert replace(one, rangemask_version="2").key == one.key
    assert replace(one, options={"a": 2}).key != one.key
    assert replace(one, models=(BIG,)).key != one.key


def test_differences_of_recipes_are_said_in_words() -> None:
    one = Recipe(kinds=("disparity",), models=(SGBM,), options={"a": 1})
    other = Recipe(kinds=("disparity",), models=(BIG,), options={"a": 2})
    said = "; ".join(one.differences(other))
    assert "option a was 1, is 2" in said
    assert "stereo was 'sgbm', is 'foundation-stereo'" in said
    assert "stereo option iterations was None, is 32" in said
    assert list(one.differences(one)) == []


def test_one_research_only_label_makes_the_whole_so() -> None:
    free = Recipe(kinds=("masks",), models=(SGBM,))
    bound = Recipe(kinds=("masks",), models=(BIG, SGBM))
    frames = (record("a", free.key), record("b", free.key), record("c", bound.key))
    recipes = {free.key: free, bound.key: bound}
    summary = summary_of(Manifest(recipes=recipes, frames=frames))
    assert summary.licence_class == "research-only"
    assert summary.research_only == {"foundation-stereo (NVIDIA non-commercial)": 1}
    rejected = (*frames[:2], replace(frames[2], status="rejected", reason="trust"))
    summary = summary_of(Manifest(recipes=recipes, frames=rejected))
    assert summary.licence_class == "commercial-ok", "a rejected label is in nobody's data"
    assert summary.rejected_for == {"trust": 1}
    assert summary_of(Manifest()).licence_class == "unknown"


def test_a_manifest_comes_back(tmp_path: Path) -> None:
    recipe = Recipe(kinds=("masks",), models=(SGBM,))
    manifest = Manifest(
        classes=("person",),
        recipes={recipe.key: recipe},
        min_quality=0.5,
        complete=True,
        frames=(record(recipe=recipe.key, seen={}),),
    )
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    assert open_labels(tmp_path).names == ("a",)
    assert open_labels(tmp_path, min_quality=0.3).names == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the manifest is damaged"),
        ("[]", "not a manifest of rangemask's labels"),
        ('{"format": "coco"}', "not a manifest of rangemask's labels"),
        ('{"format": "rangemask-labels", "format_version": 2}', "reads up to 1. Install a newer"),
        ('{"format": "rangemask-labels", "format_version": 1}', "the manifest is damaged"),
    ],
)
def test_strange_manifests_speak(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        open_labels(tmp_path)
    assert "manifest.json" in str(error.value)


def test_a_manifest_whose_paths_climb_out_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest(frames=(record(),), complete=True, recipes={"k": Recipe(
        kinds=("masks",), models=(SGBM,))}))  # fmt: skip
    text = (tmp_path / "manifest.json").read_text().replace("masks/a.json", "../a.json")
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: '\.\./a\.json' leaves the folder"):
        open_labels(tmp_path)


def test_no_labels_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no labels .* rangemask label"):
        open_labels(tmp_path)


def test_damaged_records_count_as_not_there(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.commit(record())
    for name, text in (("b", "{"), ("c", "[]"), ("d", '{"name": 3}')):
        (tmp_path / f"records/{name}.json").write_text(text)
    assert set(store.records()) == {"a"}
