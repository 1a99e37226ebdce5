"""The matcher ``onnx`` on tiny graphs whose answers are known."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from rangemask import Pipeline, load_stereo
from rangemask.evaluation.opening import open_predictor
from rangemask.structures import StereoFrame
from support.onnx_graphs import OPEN, channel_graph, constant_graph, difference_graph, save_graph

WIDTH, HEIGHT = 64, 48


def say(network: Path, **settings: object) -> Path:
    """Write the sidecar of a network."""
    network.with_suffix(".yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return network


def pair(width: int, height: int, seed: int = 0) -> StereoFrame:
    random = np.random.default_rng(seed)
    left, right = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return StereoFrame(left, right, name="random")


def flat(left: tuple[int, ...], right: tuple[int, ...] = (0, 0, 0)) -> StereoFrame:
    """Two images of one colour each."""
    images = [np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for colour in (left, right)]
    return StereoFrame(images[0], images[1], name="flat")


def disparity(network: Path, frame: StereoFrame) -> np.ndarray:
    return load_stereo("onnx", checkpoint=network, device="cpu", threads=1)(frame).disparity


def test_the_left_image_is_the_left_one(tmp_path: Path) -> None:
    frame = flat((60, 60, 60), (20, 20, 20))
    for order in (("left", "right"), ("right", "left")):
        names = {side: f"{side}_image" for side in order}
        network = difference_graph(tmp_path / f"{order[0]}.onnx", names=names)
        np.testing.assert_allclose(disparity(say(network), frame), 40)


def test_a_sidecar_tells_inputs_that_names_do_not(tmp_path: Path) -> None:
    names = {"left": "input_2", "right": "input_1"}
    network = difference_graph(tmp_path / "net.onnx", names=names)
    for named in (
        {"left": "input_2"},
        {"right": "input_1"},
        {"left": "input_2", "right": "input_1"},
    ):
        found = disparity(say(network, inputs=named), flat((60, 60, 60), (20, 20, 20)))
        np.testing.assert_allclose(found, 40)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, (50, 100, 200)),
        ({"channels": "bgr"}, (200, 100, 50)),
        ({"white": 1}, (50 / 255, 100 / 255, 200 / 255)),
        ({"mean": [10, 20, 30], "std": [2, 4, 5]}, (20, 20, 34)),
        ({"mean": [10, 20, 30], "std": [2, 4, 5], "channels": "bgr"}, (95, 20, 4)),
        (
            {"white": 1, "mean": [-1], "std": [0.5]},
            tuple(2 * (v / 255 + 1) for v in (50, 100, 200)),
        ),
    ],
)
def test_colours_and_numbers(
    tmp_path: Path, inputs: dict[str, object], expected: tuple[float, ...]
) -> None:
    for channel, value in enumerate(expected):
        network = say(channel_graph(tmp_path / "net.onnx", channel), inputs=inputs)
        np.testing.assert_allclose(disparity(network, flat((50, 100, 200))), value, rtol=1e-6)


def test_grey_images_of_one_channel(tmp_path: Path) -> None:
    network = channel_graph(tmp_path / "net.onnx", 0, shape=(1, 1, HEIGHT, WIDTH))
    say(network, inputs={"channels": "grey"})
    found = disparity(network, flat((50, 100, 200)))
    np.testing.assert_allclose(found, 0.299 * 50 + 0.587 * 100 + 0.114 * 200, rtol=1e-5)


def test_channels_last(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["disparity"], axes=[3], keepdims=0),
    ]
    shape = (1, HEIGHT, WIDTH, 3)
    network = save_graph(tmp_path / "net.onnx", nodes, shape=shape, out=(1, HEIGHT, WIDTH))
    say(network, inputs={"layout": "nhwc"})
    np.testing.assert_allclose(disparity(network, flat((9, 9, 9), (4, 4, 4))), 5)


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_types_of_inputs(tmp_path: Path, kind: int) -> None:
    nodes = [
        *(helper.make_node("Cast", [s], [s[0]], to=TensorProto.FLOAT) for s in ("left", "right")),
        helper.make_node("Sub", ["l", "r"], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["disparity"], axes=[1], keepdims=1),
    ]
    network = say(save_graph(tmp_path / "net.onnx", nodes, kind=kind))
    np.testing.assert_allclose(disparity(network, flat((60, 60, 60), (20, 20, 20))), 40)


def test_disparities_grow_with_the_pair(tmp_path: Path) -> None:
    """Resized to a fixed size, they are scaled back by the ratio of the widths alone."""
    network = say(constant_graph(tmp_path / "net.onnx", 5), size={"fit": "resize"})
    found = disparity(network, pair(2 * WIDTH, 3 * HEIGHT))
    assert found.shape == (3 * HEIGHT, 2 * WIDTH)
    np.testing.assert_allclose(found, 10)
    shares = say(network, output={"unit": "width", "scale": 0.5})
    np.testing.assert_allclose(disparity(shares, pair(128, 96)), 5 * 0.5 * 128)


def test_padding_keeps_the_shape_of_a_pair(tmp_path: Path) -> None:
    network = say(constant_graph(tmp_path / "net.onnx", 5), size={"fit": "pad"})
    np.testing.assert_allclose(disparity(network, pair(2 * WIDTH, 50)), 10)  # halved to fit
    np.testing.assert_allclose(disparity(network, pair(50, 40)), 5)  # never enlarged


@pytest.mark.parametrize("horizontal", ["left", "right", "both"])
@pytest.mark.parametrize("vertical", ["top", "bottom", "both"])
@pytest.mark.parametrize("padding", ["edge", "black", "zero"])
def test_padding_is_taken_off_where_it_was_put(
    tmp_path: Path, horizontal: str, vertical: str, padding: str
) -> None:
    """An identity of pixels gives the picture back, wherever rows and columns were added."""
    network = channel_graph(tmp_path / "net.onnx", 1, shape=OPEN)
    where = {"horizontal": horizontal, "vertical": vertical, "padding": padding}
    say(network, size={"multiple": 16, **where})
    frame = pair(53, 37)
    found = disparity(network, frame)
    known = frame.left[..., 1] > 0
    np.testing.assert_array_equal(found[known], frame.left[..., 1][known])
    assert np.isnan(found[~known]).all()


def test_a_flow_is_a_negative_disparity(tmp_path: Path) -> None:
    network = say(constant_graph(tmp_path / "net.onnx", -5), output={"scale": -1})
    np.testing.assert_allclose(disparity(network, pair(WIDTH, HEIGHT)), 5)


def test_where_the_match_lies_outside_a_pixel_is_occluded(tmp_path: Path) -> None:
    network = say(constant_graph(tmp_path / "net.onnx", 5))
    match = load_stereo(f"onnx:{network}", device="cpu", threads=1)(pair(WIDTH, HEIGHT))
    assert match.occluded[:, :5].all()
    assert not match.occluded[:, 5:].any()
    assert (match.confidence == 1).all()
    assert not match.filled.any()


def test_a_stated_confidence_is_used(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["disparity"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["disparity", "share"], ["sure"]),
    ]
    network = save_graph(
        tmp_path / "net.onnx",
        nodes,
        outputs=("sure", "disparity"),
        constants={"share": np.float32(0.01)},
    )
    say(network, output={"disparity": "disparity", "confidence": "sure"})
    matcher = load_stereo(f"onnx:{network}", device="cpu", threads=1)
    match = matcher(flat((60, 60, 60), (20, 20, 20)))
    np.testing.assert_allclose(match.disparity, 40)
    np.testing.assert_allclose(match.confidence, 0.4, rtol=1e-6)
    nowhere = matcher(flat((20, 20, 20), (20, 20, 20)))
    assert np.isnan(nowhere.disparity).all()
    assert (nowhere.confidence == 0).all()


def test_without_a_sidecar_the_log_says_what_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = constant_graph(tmp_path / "net.onnx", 5)
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        match = load_stereo(f"onnx:{network}", device="cpu")(pair(WIDTH, HEIGHT))
    np.testing.assert_allclose(match.disparity, 5)
    for words in ("no", "net.yaml", "'left' is the left image", "0 to 255", "64 x 48", "unknown"):
        assert words in caplog.text
    # What it shows can be copied as it is.
    shown = caplog.text[caplog.text.index("licence: unknown") :]
    network.with_suffix(".yaml").write_text(shown, encoding="utf-8")
    caplog.clear()
    np.testing.assert_allclose(disparity(network, pair(WIDTH, HEIGHT)), 5)
    assert "taken for granted" not in caplog.text


def test_open_sizes_without_a_sidecar(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = constant_graph(tmp_path / "net.onnx", 5, shape=OPEN)
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        np.testing.assert_allclose(disparity(network, pair(70, 50)), 5)
    assert "multiples of 32 px" in caplog.text


def test_open_sizes_that_a_sidecar_closes(tmp_path: Path) -> None:
    network = constant_graph(tmp_path / "net.onnx", 5, shape=OPEN)
    say(network, size={"height": 32, "width": 32})
    np.testing.assert_allclose(disparity(network, pair(64, 64)), 10)
    say(network, size={"fit": "resize", "multiple": 40})
    np.testing.assert_allclose(disparity(network, pair(100, 60)), 5 * 100 / 80)


def test_passport(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = say(
        constant_graph(tmp_path / "net.onnx", 5),
        name="my-net",
        licence="CC-BY-NC-4.0",
        licence_class="research-only",
    )
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        passport = load_stereo(f"onnx:{network}", device="cpu").passport
    assert "research use only" in caplog.text
    assert passport.weights == "net.onnx"
    assert passport.weights_sha256 == hashlib.sha256(network.read_bytes()).hexdigest()
    assert (passport.licence, passport.licence_class) == ("CC-BY-NC-4.0", "research-only")
    assert passport.options == {"network": "my-net", "provider": "CPU", "sidecar": True}


def test_passport_of_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    network = constant_graph(
        tmp_path / "net.onnx",
        5,
        save_as_external_data=True,
        location="net.onnx.data",
        size_threshold=0,
    )
    passport = load_stereo(f"onnx:{network}", device="cpu").passport
    data = (tmp_path / "net.onnx.data").read_bytes()
    assert passport.options["sha256 of net.onnx.data"] == hashlib.sha256(data).hexdigest()
    assert passport.licence == "unknown"
    assert passport.licence_class == "unknown"


def test_a_pipeline_and_a_folder_take_it(tmp_path: Path, frame: StereoFrame) -> None:
    say(constant_graph(tmp_path / "net.onnx", 6))
    scene = Pipeline(stereo=f"onnx:{tmp_path}", masks=None, device="cpu")(frame)
    assert scene.depth is not None
    np.testing.assert_allclose(scene.depth, 0.75)
    assert scene.provenance.models[0].model == "onnx"
    assert replace(scene.provenance.models[0], options={}).weights == "net.onnx"


def test_it_can_be_judged(tmp_path: Path) -> None:
    network = say(constant_graph(tmp_path / "net.onnx", 6))
    predictor = open_predictor(f"onnx:{network}", device="cpu")
    assert predictor.kinds == {"disparity"}
    found = predictor(pair(WIDTH, HEIGHT)).disparity
    assert found is not None
    np.testing.assert_allclose(found, 6)
