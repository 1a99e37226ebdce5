"""Against Label Studio's own code, where it is installed."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from rangemask.labels.label_studio.brush import decode_brush, encode_brush
from support.label_studio import CLASSES, exported, make_store

if importlib.util.find_spec("label_studio_sdk") is None:
    pytest.skip(
        "label-studio-sdk is not installed (it needs opencv < 5, rangemask opencv 5); its answers "
        "are kept in tests/golden/label_studio",
        allow_module_level=True,
    )


@pytest.mark.parametrize("seed", range(10))
def test_the_sdk_writes_and_reads_the_same(seed: int) -> None:
    from label_studio_sdk.converter.brush import decode_rle, mask2rle

    random = np.random.default_rng(seed)
    height, width = random.integers(1, 80, 2)
    mask = random.random((height, width)) < random.random()
    rle = mask2rle(mask.astype(np.uint8) * 255)
    assert encode_brush(mask) == rle
    assert np.array_equal(decode_brush(rle, height, width), mask)
    alpha = decode_rle(encode_brush(mask)).reshape(height, width, 4)[..., 3]
    assert np.array_equal(alpha == 255, mask)


@pytest.mark.parametrize("shape", ["brush", "polygon"])
def test_the_sdk_takes_configuration_and_tasks(tmp_path: Path, shape: str) -> None:
    from label_studio_sdk.label_interface import LabelInterface

    tasks = exported(make_store(tmp_path / "store"), shape=shape)
    config = (tmp_path / "label_config.xml").read_text(encoding="utf-8")
    interface = LabelInterface(config)
    interface.validate()
    assert set(interface.get_control("brush").labels) == set(CLASSES)
    for task in tasks:
        assert interface.validate_task({"data": task["data"]}) is True
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction) is True
