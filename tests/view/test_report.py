import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from rangemask.errors import InputError, OutputError
from rangemask.geometry import Rig
from rangemask.structures import Passport, Provenance, Scene
from rangemask.view import report
from rangemask.view.colormap import ColourRange
from rangemask.view.palette import instance_colour
from rangemask.view.pictures import write_pictures
from rangemask.view.report import render_report, summary_of, write_report

SceneMaker = Callable[..., Scene]

HOSTILE = "<script>alert('x')</script>&\"><img src=x onerror=alert(1)>"
VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """Elements, their attributes and the text of a page; fails where tags do not match."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def scene(make_scene: SceneMaker) -> Scene:
    return make_scene([(20, 60, 60, 80), (200, 100, 90, 90)])


def test_a_page_says_what_was_found(scene: Scene) -> None:
    page = Page(render_report([scene], title="My run"))
    assert page.text.startswith("My run My run 2 objects in 1 frame. Frames 1 Objects 2")
    for words in (
        "320 × 240 px · 2 objects",
        "1.00 m 0.90 to 1.10 m",
        "0.50 × 1.70 × 0.30 m",
        "80 %",
        "Nearest 1.00 m person",
        "Baseline 100.0 mm",
        "stereo sgbm Apache-2.0 commercial use fine",
    ):
        assert words in page.text
    colours = [value["style"] for value in page.all("span") if value.get("class") == "swatch"]
    assert colours == [
        "background:rgb({},{},{})".format(*instance_colour(identity)) for identity in (1, 2)
    ]


def test_pictures_are_inside_described_and_loaded_when_seen(scene: Scene) -> None:
    images = Page(render_report([scene])).all("img")
    assert [image["alt"].split(" of ")[0].split(" (")[0] for image in images] == [
        "Left image",
        "Objects outlined",
        "Coloured disparity",
        "Confidence",
        "Classes",
    ]
    for image in images:
        assert image["src"].startswith("data:image/jpeg;base64,")
        assert image["loading"] == "lazy"
        assert int(image["width"]) == 320
        assert int(image["height"]) >= 240
    assert "person 1.00 m, person 1.10 m" in images[1]["alt"]


def test_a_page_asks_for_nothing_from_elsewhere(scene: Scene) -> None:
    text = render_report([scene])
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.elements}
    policy = [meta for meta in page.all("meta") if "http-equiv" in meta]
    assert policy[0]["content"].startswith("default-src 'none'")
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_names_and_labels_cannot_write_html(make_scene: SceneMaker) -> None:
    scene = make_scene([(20, 60, 60, 80)], label=HOSTILE, name="a&b 'onload=alert(1)'")
    passport = Passport(
        role=HOSTILE,
        model=HOSTILE,
        licence=HOSTILE,
        licence_class=HOSTILE,
        weights=HOSTILE,
        weights_sha256=HOSTILE,
        options={HOSTILE: HOSTILE},
    )
    rig = replace(scene.rig, name=HOSTILE)
    scene = replace(
        scene,
        frame=replace(scene.frame, rig=rig),
        provenance=Provenance(rangemask_version=HOSTILE, models=(passport,)),
    )
    page = Page(render_report([scene, scene], title=HOSTILE))
    assert len(page.all("img")) == 10
    assert not page.all("script")
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert "licence" not in attributes.get("class", "")
    assert page.text.count("<script>alert('x')</script>") >= 12
    assert "a&b 'onload=alert(1)'" in page.text


def test_control_characters_do_not_reach_the_page(make_scene: SceneMaker) -> None:
    text = render_report([make_scene([(1, 1, 9, 9)], label="a\x00b\x1bc\u202ed")])
    assert "a b c d" in text
    assert not {"\x00", "\x1b", "\u202e"} & set(text)


def test_a_scene_with_nothing_is_shown_with_what_is_missing(scene: Scene, bare) -> None:
    empty = replace(bare(scene), objects=())
    page = Page(render_report([empty]))
    assert len(page.all("img")) == 2
    assert "No objects were found in this frame." in page.text
    assert "No calibration was given, so distances in metres are unknown." in page.text
    assert "Not recorded." in page.text
    assert "licence unknown" in page.text
    assert "nan" not in page.text.lower()
    assert "nan" not in Page(render_report([bare(scene)])).text.lower()


def test_depth_is_shown_where_no_pair_was_matched(scene: Scene) -> None:
    page = Page(render_report([replace(scene, disparity=None)]))
    assert "Depth, estimated from one image, bright is near" in page.text
    assert "Disparity, bright is near" not in page.text


def test_relative_depth_is_shown_as_such(scene: Scene, bare) -> None:
    relative = replace(bare(scene), relative_depth=scene.disparity / 7)
    page = Page(render_report([relative]))
    assert "Relative depth, no metres, bright is near" in page.text
    assert "Pixels measured" not in page.text, "relative depth measures nothing"
    assert "Depth is relative, without metres, so distances are unknown." in page.text
    assert "No calibration was given" not in page.text


def test_metric_depth_of_one_image_needs_no_rig(scene: Scene) -> None:
    mono = replace(scene, disparity=None, frame=replace(scene.frame, right=None, rig=None))
    assert not any("unknown" in warning for warning in summary_of(mono).warnings)
    page = Page(render_report([mono]))
    assert "None: metres are the depth model's; sizes are unknown." in page.text
    assert "cannot be known" not in page.text


def test_warnings_are_those_that_apply(scene: Scene, bare) -> None:
    assert summary_of(scene).warnings == ()
    few = np.where(np.arange(320) < 100, scene.disparity, np.nan).astype(np.float32)
    assert any("% of the pixels" in w for w in summary_of(replace(scene, disparity=few)).warnings)
    lost = bare(scene).objects[:1] + scene.objects[1:]
    assert summary_of(replace(scene, objects=lost)).warnings == (
        "1 of 2 objects have no distance.",
    )
    thin = tuple(
        replace(one, distance=replace(one.distance, valid_share=0.1)) for one in scene.objects
    )
    assert summary_of(replace(scene, objects=thin)).warnings == (
        "2 distances rest on less than 30 % of their object.",
    )
    single = Rig(left=scene.rig.left)
    mono = replace(scene, frame=replace(scene.frame, right=None, rig=single), depth=None)
    assert "There is no depth in metres, so distances are unknown." in summary_of(mono).warnings
    models = (replace(scene.provenance.models[0], licence_class="research-only"),)
    research = replace(scene, provenance=replace(scene.provenance, models=models))
    assert any("research only" in warning for warning in summary_of(research).warnings)
    assert "research only" in Page(render_report([research])).text


def test_the_summary_counts_frames_objects_and_warnings(make_scene: SceneMaker) -> None:
    scenes = [make_scene([(20, 60, 60, 80)] * k, name=f"f{k}") for k in range(4)]
    page = Page(render_report(scenes))
    assert "6 objects in 4 frames." in page.text
    assert "1 frame with warnings." in page.text
    links = [link["href"] for link in page.all("a")]
    assert links == [f"#scene-{k}" for k in (1, 2, 3, 4)]
    assert [one["id"] for one in page.all("article")] == [link[1:] for link in links]


def test_a_folder_of_scenes_becomes_a_page(make_scene: SceneMaker, tmp_path: Path) -> None:
    for name in ("frame10", "frame2", "it's #1 100%"):
        scene = make_scene([(20, 60, 60, 80)], name=name)
        write_pictures(scene, scene.save(tmp_path))
    (tmp_path / "other").mkdir()
    page_path = write_report(tmp_path)
    assert page_path == tmp_path / "report.html"
    page = Page(page_path.read_text(encoding="utf-8"))
    headings = [word for word in page.words if word in {"frame10", "frame2", "it's #1 100%"}]
    assert headings == ["frame2", "frame10", "it's #1 100%"] * 2
    files = [link["href"] for link in page.all("a") if link["href"].startswith("./")]
    assert len(files) == 15
    for file in files:
        assert (tmp_path / unquote(file)).is_file()
        assert "#" not in file
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_page_of_links_holds_no_pictures(scene: Scene, tmp_path: Path) -> None:
    folder = scene.save(tmp_path / "out")
    write_pictures(scene, folder)
    (folder / "segmentation/semantic_colour.png").unlink()
    path = write_report(tmp_path / "out", tmp_path / "pages" / "r.html", embed=False)
    images = Page(path.read_text(encoding="utf-8")).all("img")
    linked = [image for image in images if not image["src"].startswith("data:")]
    assert len(linked) == 4
    for image in linked:
        assert (path.parent / unquote(image["src"])).is_file()
    # What is not on disk is drawn.
    assert images[4]["src"].startswith("data:")


def test_many_scenes_are_linked_by_themselves(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_EMBED_AT_MOST", 1)
    for name in ("a", "b"):
        one = replace(scene, frame=replace(scene.frame, name=name))
        write_pictures(one, one.save(tmp_path))
    assert "data:image" not in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_scene_itself_is_a_folder_too(scene: Scene, tmp_path: Path) -> None:
    folder = scene.save(tmp_path)
    page = write_report(folder, tmp_path / "one.html", title="One")
    assert Page(page.read_text(encoding="utf-8")).text.startswith("One One 2 objects in 1 frame.")


def test_a_damaged_scene_has_its_place_and_its_reason(scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    broken = tmp_path / "broken & sad"
    broken.mkdir()
    (broken / "scene.json").write_text("{")
    (tmp_path / ".being-written").mkdir()
    (tmp_path / ".being-written" / "scene.json").write_text("{")
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "2 objects in 2 frames, 1 of which could not be read." in page.text
    assert "the saved scene is damaged" in page.text
    assert len(page.all("article")) == 2
    assert str(tmp_path) not in page.text


def test_writing_again_gives_the_same_page(scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    first = write_report(tmp_path).read_bytes()
    assert write_report(tmp_path).read_bytes() == first


def test_what_is_no_folder_of_scenes_is_said(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: expected a folder with saved scenes"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no saved scene .*rangemask predict"):
        write_report(tmp_path)
    folder = scene.save(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"report\.html: cannot be written"):
        write_report(folder, tmp_path / "file" / "report.html")


def test_an_old_page_survives_a_failure(scene: Scene, tmp_path: Path) -> None:
    scene.save(tmp_path)
    before = write_report(tmp_path).read_bytes()
    with pytest.raises(ValueError, match="range of disparity_px"):
        write_report(tmp_path, colour_range=ColourRange.between(1, 2))
    assert (tmp_path / "report.html").read_bytes() == before


def test_memory_does_not_grow_with_the_number_of_scenes(
    make_scene: SceneMaker, tmp_path: Path
) -> None:
    def peak(count: int) -> int:
        root = tmp_path / str(count)
        for number in range(count):
            make_scene([(20, 60, 60, 80)], name=str(number)).save(root)
        tracemalloc.start()
        write_report(root)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(1)
    assert peak(12) < 1.5 * peak(2)


def test_scenes_may_come_one_by_one(make_scene: SceneMaker) -> None:
    def stream() -> Iterator[Scene]:
        for number in range(3):
            yield make_scene([], name=f"n{number}")

    assert len(Page(render_report(stream())).all("article")) == 3
    assert "0 objects in 0 frames." in Page(render_report([])).text
