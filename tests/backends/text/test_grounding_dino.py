"""Names of things to boxes; a tiny detector with a vocabulary of a few words."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, GroundingDinoForObjectDetection

from rangemask.backends.protocols import TextDetector
from rangemask.backends.registry import load_text
from rangemask.backends.text import grounding_dino as backend
from rangemask.backends.text.grounding_dino import GroundingDinoDetector, name_scores
from rangemask.errors import InputError, UnknownNameError
from rangemask.models import grounding_dino, published
from support.sam2 import picture, tiny_detector

NAME = "grounding-dino-tiny"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_detector(tmp_path_factory.mktemp("dino") / "tiny")


@pytest.fixture(scope="module")
def detector(folder: Path) -> Any:
    return load_text(NAME, checkpoint=folder, device="cpu", box_threshold=0.0)


def fixed(
    detector: GroundingDinoDetector, monkeypatch: pytest.MonkeyPatch, rows: list[dict[int, float]]
) -> None:
    """Let query i match token j with ``rows[i][j]``, and nothing else."""

    def match(_network: Any, _images: Any, tokens: torch.Tensor, _kinds: Any) -> Any:
        found = torch.zeros(len(rows), tokens.shape[1])
        for row, matches in zip(found, rows, strict=True):
            for token, value in matches.items():
                row[token] = value
        boxes = torch.tensor([[0.1, 0.2, 0.5, 0.6]]).repeat(len(rows), 1)
        return grounding_dino.Matches(boxes, found)

    monkeypatch.setattr(backend, "match", match)


# [CLS] traffic light . light . person ##s . [SEP]
NAMES = ["traffic light", "light", "persons"]


@pytest.mark.parametrize(
    ("matches", "name", "score"),
    [
        ({1: 0.6, 2: 0.5, 4: 0.45}, "traffic light", 0.6),
        ({1: 0.05, 2: 0.5, 4: 0.48}, "light", 0.48),
        ({1: 0.3, 2: 0.6, 4: 0.4}, "traffic light", 0.6),
        ({6: 0.9, 7: 0.1}, "persons", 0.9),
        ({3: 0.99, 0: 0.99, 5: 0.99, 4: 0.5}, "light", 0.5),
    ],
)
def test_the_place_of_a_word_decides(
    detector: Any, monkeypatch: pytest.MonkeyPatch, matches: Any, name: str, score: float
) -> None:
    """Two names may share a word; separators and ends belong to none."""
    fixed(detector, monkeypatch, [matches])
    found = detector(picture(60, 90), NAMES)
    assert found.labels == (name,)
    np.testing.assert_allclose(found.scores, [score], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [[9, 12, 45, 36]], rtol=1e-6)


def test_thresholds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{1: 0.3, 2: 0.3}, {4: 0.5}, {4: 0.7, 6: 0.2}]
    for least, count in ((0.0, 3), (0.4, 2), (0.6, 1), (0.8, 0)):
        found: Any = load_text(NAME, checkpoint=folder, device="cpu", box_threshold=least)
        fixed(found, monkeypatch, rows)
        result = found(picture(), NAMES)
        assert len(result) == count
        assert list(result.scores) == sorted(result.scores, reverse=True)
    # "person" matches as well as "light", but "##s" does not.
    split = [{4: 0.5, 6: 0.9, 7: 0.2}]
    for least, name in ((0.1, "persons"), (0.3, "light")):
        found = load_text(NAME, checkpoint=folder, device="cpu", text_threshold=least)
        fixed(found, monkeypatch, split)
        assert found(picture(), NAMES).labels == (name,)


@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_scores_are_those_of_the_best_name(data: st.DataObject) -> None:
    """By hand, name by name."""
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    owners = [-1]
    for index, length in enumerate(lengths):
        owners += [index] * length + [-1]
    values = st.lists(st.floats(0, 1, width=32), min_size=len(owners), max_size=len(owners))
    probabilities = np.array(data.draw(st.lists(values, min_size=1, max_size=4)), np.float32)
    least = data.draw(st.floats(0, 1, width=32))
    best, chosen = name_scores(
        torch.from_numpy(probabilities), torch.tensor(owners), len(lengths), least
    )
    for row, score, name in zip(probabilities, best.tolist(), chosen.tolist(), strict=True):
        words = [row[np.array(owners) == index] for index in range(len(lengths))]
        means = [np.where(word >= np.float32(least), word, 0).mean() for word in words]
        assert means[name] == pytest.approx(max(means), abs=1e-6)
        assert score == pytest.approx(words[name].max(), abs=1e-6)


def test_it_sees_what_transformers_sees(folder: Path, detector: Any) -> None:
    """Preprocessing, text and boxes as their processor and model have them."""
    image = picture(60, 90)
    processor = AutoProcessor.from_pretrained(folder)
    network = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    given_labels = [["traffic light", "person"]]
    inputs = processor(images=image, text=given_labels, return_tensors="pt")
    with torch.inference_mode():
        output = network(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        output, inputs["input_ids"], threshold=0.0, target_sizes=[(60, 90)]
    )
    found = detector(image, ["Traffic  light", "person"])
    assert len(found) == len(expected["boxes"])
    order = np.lexsort(found.boxes.T)
    theirs = expected["boxes"].numpy()
    np.testing.assert_allclose(
        found.boxes[order], theirs[np.lexsort(theirs.T)], rtol=1e-3, atol=1e-2
    )
    assert set(found.labels) <= {"Traffic  light", "person"}
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_many_names_are_asked_in_turns(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: Any = load_text(
        NAME,
        checkpoint=tiny_detector(tmp_path / "short", max_text=8),
        device="cpu",
        box_threshold=0.0,
    )
    passes: list[list[str]] = []
    plain = short._look

    def look(pixels: Any, names: list[str]) -> Any:
        passes.append(names)
        return plain(pixels, names)

    monkeypatch.setattr(short, "_look", look)
    found = short(picture(), ["dog", "traffic light", "Person", "house", "person", "red house"])
    assert passes == [["dog", "traffic light"], ["person", "house"], ["red house"]]
    assert len(found) == 3 * 20
    assert "Person" in found.labels
    assert "person" not in found.labels
    with pytest.raises(InputError, match="is too long: 6 words and parts of such"):
        short(picture(), ["red traffic light house dogs"])


def test_halves_have_to_be_asked_for(folder: Path) -> None:
    exact: Any = load_text(NAME, checkpoint=folder, device="cpu", box_threshold=0.0)
    halves: Any = load_text(
        NAME, checkpoint=folder, device="cpu", precision="bfloat16", box_threshold=0.0
    )
    first, second = exact(picture(), ["dog"]), halves(picture(), ["dog"])
    assert len(first) == len(second)
    assert not np.array_equal(first.scores, second.scores)
    assert np.isfinite(second.boxes).all()


def test_the_passport(detector: TextDetector) -> None:
    passport = detector.passport
    assert (passport.role, passport.model) == ("text", NAME)
    assert passport.licence_class == "commercial-ok"
    assert passport.weights == "model.safetensors"
    assert len(passport.weights_sha256 or "") == 64
    assert passport.options["text_threshold"] == 0.25


def test_loading_says_nothing_and_changes_nothing(
    folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    level = logging.getLogger("transformers").level
    load_text(NAME, checkpoint=folder, device="cpu")
    assert not caplog.records
    assert capfd.readouterr().err == ""
    assert logging.getLogger("transformers").level == level


# What is asked


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "labels must be a list of names"),
        ("dog", "labels must be a list of names, .* got 'dog'"),
        (["dog", " "], "plain words"),
        (["dog. light"], r"plain words without \. and \?, got 'dog\. light'"),
        (["dog?"], "plain words without"),
        (["zebra"], "'zebra': the detector's vocabulary has no words for it"),
    ],
)
def test_impossible_names_are_refused(detector: Any, labels: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        detector(picture(), labels)


def test_strips_are_refused(detector: Any) -> None:
    with pytest.raises(InputError, match="16 times as long as wide"):
        detector(np.zeros((4, 90, 3), np.uint8), ["dog"])


@pytest.mark.parametrize("option", ["box_threshold", "text_threshold"])
@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_thresholds_are_probabilities(folder: Path, option: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"{option} must be in \[0, 1\]"):
        load_text(NAME, checkpoint=folder, device="cpu", **{option: value})


def test_unknown_names_are_told_the_known_ones(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no text model .* Did you mean 'grounding-dino-b"):
        load_text("grounding-dino-bas", checkpoint=folder)


# Folders that are something else


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_text(NAME, checkpoint=path, device="cpu")


def test_without_settings_or_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    refused(copy, r"holds no tokenizer \(tokenizer\.json or vocab\.txt\)")
    settings_of = json.loads((copy / "config.json").read_text("utf-8"))
    changed = json.dumps(settings_of | {"model_type": "owlvit"})
    (copy / "config.json").write_text(changed, "utf-8")
    refused(copy, r"with a config\.json of grounding-dino; there is config\.json of owlvit")
    (copy / "config.json").unlink()
    refused(copy, r"there is no config\.json")
    (copy / "model.safetensors").unlink()
    refused(copy, "holds no checkpoint")


def test_damaged_files(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{", "utf-8")
    refused(copy, "its tokenizer or preprocessor_config.json cannot be read")
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused(copy, r"cannot be read as grounding-dino .*Copy or download the folder again")


def test_weights_that_do_not_fit(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    name = "model.enc_output.weight"
    meta = {"format": "pt"}
    without = {key: value for key, value in weights.items() if key != name}
    save_file(without, copy / "model.safetensors", metadata=meta)
    refused(copy, r"1 missing \(model\.enc_output\.weight\)")
    other = weights | {name: torch.zeros(3, 3)}
    save_file(other, copy / "model.safetensors", metadata=meta)
    refused(copy, r"1 of another shape \(model\.enc_output\.weight\)")
    extra = weights | {"model.extra": torch.zeros(3)}
    save_file(extra, copy / "model.safetensors", metadata=meta)
    refused(copy, r"1 unknown \(model\.extra\)")
    damaged = weights | {name: torch.full_like(weights[name], torch.nan)}
    save_file(damaged, copy / "model.safetensors", metadata=meta)
    refused(copy, "holds NaN or infinite weights")


def test_all_its_files_are_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hf_hub_download(repository: str, file: str, *, local_files_only: bool = False) -> str:
        assert repository == "IDEA-Research/grounding-dino-tiny"
        assert local_files_only
        asked.append(file)
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    load_text(NAME, device="cpu")
    beside = published.PUBLISHED[NAME].beside
    assert sorted(asked) == sorted(("model.safetensors", *beside))
    assert {"config.json", "tokenizer.json", "preprocessor_config.json"} <= set(beside)
