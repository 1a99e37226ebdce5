"""Every way in which an exported network cannot be used speaks."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from rangemask import load_stereo
from rangemask.backends.residence import OutOfMemoryError
from rangemask.backends.stereo.onnx import load_onnx, session
from rangemask.backends.stereo.onnx.sidecar import read_sidecar
from rangemask.errors import InputError
from rangemask.structures import StereoFrame
from support.onnx_graphs import FIXED, OPEN, constant_graph, difference_graph, save_graph


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return constant_graph(tmp_path / "net.onnx", 5)


def pair(width: int = 64, height: int = 48) -> StereoFrame:
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return StereoFrame(images[0], images[1], name="random")


def say(network: Path, **settings: object) -> Path:
    network.with_suffix(".yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return network


def load(network: Path, **options: Any) -> Any:
    return load_stereo("onnx", checkpoint=network, device="cpu", **options)


def test_no_file(tmp_path: Path, network: Path) -> None:
    with pytest.raises(InputError, match=r"asked for with its file: onnx:net\.onnx"):
        load_stereo("onnx")
    with pytest.raises(InputError, match=r"other\.onnx: no such file"):
        load(tmp_path / "other.onnx")
    (tmp_path / "net.pth").write_bytes(b"abc")
    with pytest.raises(InputError, match=r"ends in \.onnx; this ends in \.pth.*export stereo"):
        load(tmp_path / "net.pth")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no \.onnx file"):
        load(tmp_path / "empty")
    constant_graph(tmp_path / "second.onnx", 5)
    with pytest.raises(InputError, match=r"several networks \(net\.onnx, second\.onnx\)"):
        load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all, but text" * 9])
def test_a_file_that_is_no_network(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(content)
    with pytest.raises(InputError, match=r"is no ONNX file, or a damaged one \(\d+ bytes\)"):
        load(tmp_path / "net.onnx")


def test_a_file_that_was_cut_off(network: Path) -> None:
    content = network.read_bytes()
    network.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="or a damaged one"):
        load(network)


@pytest.mark.parametrize("later", [{"opset": 99}, {"ir": 99}])
def test_a_later_onnx(tmp_path: Path, later: dict[str, int]) -> None:
    network = constant_graph(tmp_path / "net.onnx", 5, **later)
    with pytest.raises(InputError, match=r"for a later ONNX than onnxruntime .*lower opset"):
        load(network)


def test_an_unknown_operation(tmp_path: Path) -> None:
    nodes = [helper.make_node("NoSuchOp", ["left", "right"], ["disparity"])]
    network = save_graph(tmp_path / "net.onnx", nodes)
    with pytest.raises(InputError, match=r"operation that onnxruntime .* does not know.*NoSuchOp"):
        load(network)


def test_a_graph_that_fits_nothing(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sub", ["left", "nowhere"], ["disparity"])]
    with pytest.raises(InputError, match="cannot use it"):
        load(save_graph(tmp_path / "net.onnx", nodes))


def test_weights_that_were_left_behind(tmp_path: Path) -> None:
    network = constant_graph(
        tmp_path / "net.onnx",
        5,
        save_as_external_data=True,
        location="net.onnx.data",
        size_threshold=0,
    )
    (tmp_path / "net.onnx.data").unlink()
    with pytest.raises(InputError, match=r"weights lie in a file of their own.*net\.onnx\.data"):
        load(network)


def test_onnxruntime_is_not_installed(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r'pip install "rangemask\[onnx\]"'):
        load(network)


def test_devices(network: Path) -> None:
    with pytest.raises(InputError, match="runs on auto, cpu, cuda or cuda:1; got device 'mps'"):
        load_onnx(network, device="mps")
    assert session._providers("auto", [session.CPU]) == [session.CPU]
    assert session._providers("cpu", [session.CUDA, session.CPU]) == [session.CPU]
    on_card = session._providers("cuda:1", [session.CUDA, session.CPU])
    assert on_card == [(session.CUDA, {"device_id": "1"}), session.CPU]
    assert session._providers("auto", [session.CUDA, session.CPU])[0][0] == session.CUDA
    with pytest.raises(InputError, match=r"knows no CUDA .*pip install onnxruntime-gpu"):
        session._providers("cuda", [session.CPU])


def test_cuda_that_does_not_start(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """onnxruntime falls back on the CPU without a word; we do not."""
    monkeypatch.setattr(session, "_providers", lambda *_: [("Any", {}), session.CPU])
    monkeypatch.setattr(session, "_onnxruntime", lambda: FallsBack)
    with pytest.raises(InputError, match="could not start CUDA and fell back on the CPU"):
        load_onnx(network, device="cuda")
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        load_onnx(network, device="auto")
    assert "fell back on the CPU" in caplog.text


def test_a_gpu_that_lies_idle_is_told(
    network: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(session.shutil, "which", lambda name: f"/usr/bin/{name}")
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        load_onnx(network, device="cpu")
        assert "NVIDIA" not in caplog.text
        load_onnx(network, device="auto")
    assert "seems to have an NVIDIA GPU" in caplog.text


class FallsBack:
    """onnxruntime where CUDA is there and broken."""

    __version__ = "1"

    @staticmethod
    def get_available_providers() -> list[str]:
        return [session.CUDA, session.CPU]

    @staticmethod
    def SessionOptions() -> Any:  # noqa: N802
        import onnxruntime

        return onnxruntime.SessionOptions()

    @staticmethod
    def InferenceSession(path: str, options: Any, providers: Any) -> Any:  # noqa: N802
        import onnxruntime

        return onnxruntime.InferenceSession(path, options, providers=providers[1:])


def test_options(network: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(InputError, match="threads must be 1 or more, got 0"):
        load(network, threads=0)
    with pytest.raises(InputError, match="onnx has no option 'iterations'"):
        load(network, iterations=3)
    with pytest.raises(InputError, match="precision must be one of"):
        load(network, precision="float8")
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        load(network, precision="bfloat16")
    assert "in the precision that it was exported in; bfloat16 is nothing to it" in caplog.text


def test_a_sidecar_of_another_name(network: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("licence: MIT\n", encoding="utf-8")
    assert load(network, sidecar=str(tmp_path / "other.yaml")).passport.licence == "MIT"
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read as YAML .*docs/onnx\.md"):
        load(network, sidecar=str(tmp_path / "none.yaml"))


# -- the graph ---------------------------------------------------------------------------------


def test_another_number_of_inputs(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["images"], ["disparity"], axes=[1], keepdims=1)]
    network = save_graph(tmp_path / "net.onnx", nodes, inputs=("images",))
    with pytest.raises(InputError, match=r"takes two images, and this takes 1 inputs: images \(1 "):
        load(network)
    nodes = [
        helper.make_node("Sum", ["left", "right", "start"], ["sum"]),
        helper.make_node("ReduceMean", ["sum"], ["disparity"], axes=[1], keepdims=1),
    ]
    network = save_graph(tmp_path / "net.onnx", nodes, inputs=("left", "right", "start"))
    with pytest.raises(InputError, match="this takes 3 inputs"):
        load(network)


def test_inputs_that_cannot_be_told_apart(tmp_path: Path) -> None:
    """The error shows a sidecar; copied as it is, it is one."""
    names = {"left": "input_0", "right": "input_1"}
    network = difference_graph(tmp_path / "net.onnx", names=names)
    with pytest.raises(InputError, match="cannot be told from their names") as caught:
        load(network)
    shown = str(caught.value)
    network.with_suffix(".yaml").write_text(shown[shown.index("licence:") :], encoding="utf-8")
    matcher = load(network)
    assert (matcher.contract.left, matcher.contract.right) == ("input_0", "input_1")


def test_several_outputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["a"], axes=[1], keepdims=1),
        helper.make_node("Neg", ["a"], ["b"]),
    ]
    network = save_graph(tmp_path / "net.onnx", nodes, outputs=("a", "b"))
    with pytest.raises(InputError, match=r"has 2 outputs \(a \(.*say output\.disparity in"):
        load(network)
    say(network, output={"disparity": "c"})
    with pytest.raises(InputError, match="no output 'c', which its sidecar calls the disparity"):
        load(network)
    say(network, output={"disparity": "b", "confidence": "c"})
    with pytest.raises(InputError, match="no output 'c', which its sidecar calls the confidence"):
        load(network)
    say(network, output={"disparity": "b"})
    assert load(network).contract.disparity == "b"


@pytest.mark.parametrize(
    ("shape", "settings", "words"),
    [
        ((1, 3, 8), {}, "batch x channels x height x width"),
        ((2, 3, 48, 64), {}, "takes batches of 2"),
        ((1, 48, 64, 3), {}, r"would have 48 channels.*inputs\.layout"),
        ((1, 1, 48, 64), {}, r"would have 1 channels.*rgb images have 3"),
        (FIXED, {"inputs": {"layout": "nhwc"}}, "would have 64 channels"),
        (FIXED, {"inputs": {"left": "l"}}, "no input 'l', which its sidecar calls the left one"),
        (FIXED, {"size": {"width": 96}}, r"its width is 64, and size\.width of its sidecar 96"),
    ],
)
def test_graphs_that_do_not_fit(
    tmp_path: Path, shape: tuple[int, ...], settings: dict[str, object], words: str
) -> None:
    nodes = [helper.make_node("Sub", ["left", "right"], ["disparity"])]
    network = save_graph(tmp_path / "net.onnx", nodes, shape=shape, out=shape)
    with pytest.raises(InputError, match=words):
        load(say(network, **settings))


def test_types_of_inputs(tmp_path: Path) -> None:
    nodes = [
        *(helper.make_node("Cast", [s], [s[0]], to=TensorProto.FLOAT) for s in ("left", "right")),
        helper.make_node("Sub", ["l", "r"], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["disparity"], axes=[1], keepdims=1),
    ]
    network = save_graph(tmp_path / "net.onnx", nodes, kind=TensorProto.INT64)
    with pytest.raises(InputError, match=r"given as one of tensor\(float\).*tensor\(int64\)"):
        load(network)
    network = save_graph(tmp_path / "net.onnx", nodes, kind=TensorProto.UINT8)
    with pytest.raises(InputError, match="takes pixels as bytes"):
        load(say(network, inputs={"white": 1}))


# -- the sidecar -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2", "cannot be read as YAML"),
        ("- 1", "the sidecar must be a table of settings"),
        ("!!python/object/apply:os.system [ls]", "cannot be read as YAML"),
        ("lizenz: MIT", "the sidecar has no lizenz; it knows version, name, licence"),
        ("version: 2", "a sidecar of a later rangemask"),
        ("licence_class: free", "licence_class must be"),
        ("inputs: {left: 1}", r"inputs\.left must be str, got 1"),
        ("inputs: {left: a, right: a}", "are both 'a'"),
        ("inputs: {channels: hsv}", r"inputs\.channels must be one of rgb, bgr, grey, got 'hsv'"),
        ("inputs: {white: 0}", "white must be positive"),
        ("inputs: {mean: [1, 2]}", "mean must be 1 or 3 finite numbers"),
        ("inputs: {mean: [.nan]}", "mean must be 1 or 3 finite numbers"),
        ("inputs: {channels: grey, std: [1, 1, 1]}", "std must be 1 finite numbers"),
        ("inputs: {std: [1, 0, 1]}", "std must be positive"),
        ("size: {height: 0}", r"size\.height must be positive"),
        ("size: {fit: crop}", r"size\.fit must be .*got 'crop'"),
        ("size: {padding: wrap}", r"size\.padding must be"),
        ("output: {scale: 0}", "scale must be a number other than 0"),
        ("output: {disparity: a, confidence: a}", "are both 'a'"),
        ("output: {unit: m}", r"output\.unit must be"),
    ],
)
def test_sidecars_that_are_wrong(network: Path, text: str, words: str) -> None:
    file = network.with_suffix(".yaml")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        load(network)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_sidecar_that_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("#" * (1 << 20) + "#", encoding="utf-8")
    with pytest.raises(InputError, match="too large for a sidecar"):
        read_sidecar(tmp_path / "net.yaml")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    text = "name: a\ninputs: {left: l, right: r, mean: [1, 2, 3]}\nsize: {height: 32, width: 64}\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    first = read_sidecar(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text(first.to_yaml(), encoding="utf-8")
    assert read_sidecar(tmp_path / "b.yaml") == first


# -- the pair and the answer -------------------------------------------------------------------


def test_pairs_that_do_not_do(tmp_path: Path, network: Path) -> None:
    matcher = load(say(network))
    frame = pair()
    with pytest.raises(InputError, match="random: a stereo matcher needs a right image"):
        matcher(StereoFrame(frame.left, name="random"))
    with pytest.raises(InputError, match=r"random: the pair is 64 x 20 px, and .* needs 32 px"):
        matcher(pair(64, 20))
    with pytest.raises(InputError, match="16 times as long as wide"):
        matcher(pair(1000, 50))
    padded = load(say(network, size={"fit": "pad", "least_px": 8}))
    with pytest.raises(InputError, match="sees 64 x 48: that would be more padding than picture"):
        padded(pair(30, 20))


def test_a_small_pair_is_enlarged_with_a_word(
    network: Path, caplog: pytest.LogCaptureFixture
) -> None:
    matcher = load(say(network))
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        np.testing.assert_allclose(matcher(pair(32, 32)).disparity, 2.5)
        matcher(pair(32, 32))
    assert caplog.text.count("enlarged to 64 x 48") == 1


def test_answers_of_another_size(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("ReduceMean", ["difference"], ["mean"], axes=[1], keepdims=1),
        helper.make_node(
            "AveragePool", ["mean"], ["disparity"], kernel_shape=[4, 4], strides=[4, 4]
        ),
    ]
    network = say(save_graph(tmp_path / "net.onnx", nodes, out=(1, 1, 12, 16)))
    with pytest.raises(InputError, match=r"'disparity' is 1 x 1 x 12 x 16; .*expected, 48 x 64"):
        load(network)(pair())


def test_answers_that_are_no_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = say(constant_graph(tmp_path / "net.onnx", float("nan")))
    with pytest.raises(InputError, match=r"holds not one finite number.*float16"):
        load(network)(pair())
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("Div", ["left", "difference"], ["share"]),  # 0 / 0 where both are 0
        helper.make_node("Gather", ["share", "channel"], ["disparity"], axis=1),
    ]
    constants = {"channel": np.array([0], np.int64)}
    network = say(save_graph(tmp_path / "some.onnx", nodes, constants=constants))
    left = np.full((48, 64, 3), 40, np.uint8)
    right = np.full((48, 64, 3), 20, np.uint8)
    left[:, :16] = right[:, :16] = 0
    with caplog.at_level(logging.WARNING, logger="rangemask"):
        match = load(network)(StereoFrame(left, right))
    assert np.isnan(match.disparity[:, :16]).all()
    assert (match.confidence[:, :16] == 0).all()
    np.testing.assert_allclose(match.disparity[:, 16:], 2)
    assert "25.0% of 'disparity' are no finite numbers" in caplog.text


def test_the_wrong_sign(tmp_path: Path) -> None:
    network = say(constant_graph(tmp_path / "net.onnx", -5))
    with pytest.raises(InputError, match=r"median disparity of net\.onnx is -5\.0 px.*`scale: -1`"):
        load(network)(pair())


def test_a_network_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        helper.make_node("Sub", ["left", "right"], ["difference"]),
        helper.make_node("Reshape", ["difference", "size"], ["disparity"]),
    ]
    constants = {"size": np.array([1, 3, 32, 32], np.int64)}
    network = save_graph(
        tmp_path / "net.onnx", nodes, shape=OPEN, out=("a", "b", "c", "d"), constants=constants
    )
    matcher = load(say(network))
    with pytest.raises(InputError, match="onnxruntime could not run it"):
        matcher(pair())

    class Full:
        def run(self, *_: Any) -> Any:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 9")

    with pytest.raises(OutOfMemoryError, match=r"memory ran out .*smaller size"):
        session.Network(path=network, inputs=(), outputs=(), provider="", session=Full()).run(
            (), {}
        )


def test_the_graphs_of_these_tests_are_onnx(network: Path) -> None:
    onnx.checker.check_model(onnx.load(network))
