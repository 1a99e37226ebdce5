"""Published labels as they come, where the machine has them."""

from pathlib import Path

import numpy as np
import pytest

from rangemask.data.map_files import read_labels
from rangemask.data.readers import open_dataset

pytestmark = pytest.mark.data


@pytest.mark.parametrize(
    ("name", "count", "sequences", "masks", "classes"),
    [
        ("camvid", 12, {"0006R0_f", "0016E5"}, 0, 11),
        ("ade20k", 2, {"ADE_train"}, 85, 21),
        ("voc_labelme", 2, {"2011"}, 6, 21),
        ("coco_panoptic", 1, {""}, 18, 5),
    ],
)
def test_folders_of_masks(
    shared_data: Path, name: str, count: int, sequences: set[str], masks: int, classes: int
) -> None:
    root = shared_data / "masks" / name
    data = open_dataset(root)
    assert (len(data), set(data.sequences), len(data.classes)) == (count, sequences, classes)
    found = 0
    for sample in data:
        assert sample.semantic is not None
        raw = read_labels(root / "semantic" / f"{sample.name}.png")
        # The same pixels belong together, whatever the ids are called.
        pairs = np.unique(np.stack([raw.ravel(), sample.semantic.ids.ravel()]), axis=1)
        assert len(np.unique(pairs[0])) == pairs.shape[1]
        if sample.masks is not None:
            found += len(sample.masks)
            for label, mask in zip(sample.masks.labels, sample.masks, strict=True):
                inside = sample.semantic.ids[mask]
                share = (inside == data.classes.index(label) + 1).mean()
                assert share > 0.8, (sample.name, label)
    assert found == masks


@pytest.mark.parametrize("name", ["euroc_a", "kitti_odometry_a"])
def test_frames_without_labels(shared_data: Path, name: str) -> None:
    data = open_dataset(shared_data / "sequence" / name)
    assert len(data) == 12
    sample = data[11]
    assert sample.frame.right is not None
    assert sample.frame.rig is not None
    assert sample.frame.rig.baseline_m == pytest.approx(
        {"e": 0.1101, "k": 0.5372}[name[0]], abs=1e-3
    )
    assert (sample.disparity, sample.masks, sample.semantic) == (None, None, None)
