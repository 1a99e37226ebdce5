"""Pairs become batches: the same ones for the same numbers, with the truth at its own size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, StereoFrame
from rangemask.training.data import Frames
from rangemask.training.two_in_one.augmentation import AugmentationConfig
from rangemask.training.two_in_one.config import PairDataConfig
from rangemask.training.two_in_one.pairs import JudgedSet, PairSet, PairsModule, collate
from rangemask.training.two_in_one.recordings import open_pairs

SIZE = (64, 96)
CUT = AugmentationConfig(full_size=SIZE, crop_size=(32, 64))
RIG = Rig.rectified(fx=50.0, cx=19.5, cy=9.5, baseline_m=0.2, width=40, height=20)


@pytest.fixture(scope="module")
def frames(rendered: Path) -> Frames:
    config = PairDataConfig(root=str(rendered), validation_share=0.3)
    return open_pairs(config, 0)


class Listed(list[Sample]):
    """Samples as a data set; the rest of the protocol is not asked for."""

    names = sequences = classes = ()


def sample(**known: object) -> Sample:
    grey = np.full((20, 40, 3), 90, dtype=np.uint8)
    return Sample(frame=StereoFrame(grey, grey, RIG, "one"), **known)  # type: ignore[arg-type]


def test_an_example_hangs_on_seed_epoch_and_number_alone(frames: Frames) -> None:
    made = [PairSet(frames.train, frames.train_indices, CUT, seed, 1.0) for seed in (3, 3, 4)]
    first, again, other = (one[2, 1].pair.left for one in made)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, made[0][3, 1].pair.left)
    assert first.shape == (3, 32, 64)


def test_the_rig_counts_at_the_full_width(frames: Frames) -> None:
    example = PairSet(frames.train, frames.train_indices, CUT, 0, 1.0)[0, 0]
    assert example.focal_baseline == pytest.approx(75 * 0.12 * 96 / 84)
    bare = sample()
    bare = replace(bare, frame=replace(bare.frame, rig=None))
    alone = PairSet(Listed([bare]), [0], CUT, 0, 7.5)[0, 0]
    assert alone.focal_baseline == 7.5, "a network's own disparity is that of the images then"


def test_batches_are_of_left_targets_and_whole(frames: Frames) -> None:
    module = PairsModule(frames, CUT, batch_size=3, workers=0, seed=1, d2d=1.0)
    batches = list(module.train_dataloader())
    assert len(frames.train_indices) == 4
    assert [len(batch.names) for batch in batches] == [3], "the last, not full, is left out"
    assert batches[0].pairs.direct.tolist() == [1.0] * 3
    assert batches[0].pairs.focal_baseline.shape == (3,)
    few = PairsModule(frames, CUT, batch_size=8, workers=0, seed=1, d2d=1.0)
    assert [len(batch.names) for batch in few.train_dataloader()] == [4]
    assert [pair.left.shape for pair in module.val_dataloader()] == [(1, 3, 64, 96)] * 2


def test_a_batch_that_cannot_be_speaks(frames: Frames) -> None:
    example = PairSet(frames.train, frames.train_indices, CUT, 0, 1.0)[0, 0]
    with pytest.raises(InputError, match="focal_baseline must be positive"):
        collate([example._replace(focal_baseline=-1.0)])


def test_missing_right_images_speak() -> None:
    bare = sample()
    alone = Listed([replace(bare, frame=replace(bare.frame, right=None))])
    for data in (PairSet(alone, [0], CUT, 0, 1.0), JudgedSet(alone, [0], SIZE, 1.0)):
        with pytest.raises(InputError, match="one: has no right image"):
            data[0, 0] if isinstance(data, PairSet) else data[0]


def test_truth_is_depth_at_its_own_size() -> None:
    disparity = np.full((20, 40), 5.0, dtype=np.float32)
    disparity[0, 0] = np.nan
    depth_m = np.full((20, 40), 2.0, dtype=np.float32)
    filled = np.zeros((20, 40), dtype=np.bool_)
    filled[3, 4] = True
    samples = Listed(
        [
            sample(disparity=disparity),
            sample(depth=DepthMap(values=depth_m, filled=filled)),
            sample(depth=DepthMap(values=depth_m, kind="relative_inverse")),
            sample(),
        ]
    )
    by_disparity, by_depth, relative, none = list(map(JudgedSet(samples, range(4), SIZE, 1.0)
                                                      .__getitem__, range(4)))  # fmt: skip
    for pair in (by_disparity, by_depth):
        assert pair.truth is not None
        assert pair.metric
        assert pair.truth[10, 10] == pytest.approx(2.0)
    assert by_disparity.truth is not None
    assert by_disparity.truth.isnan().sum() == 1
    assert by_depth.truth is not None
    assert by_depth.truth.isnan().nonzero().tolist() == [[3, 4]], "what was guessed is no truth"
    assert relative.truth is None
    assert none.truth is None
    assert by_disparity.focal_baseline.tolist() == pytest.approx([50 * 0.2 * 96 / 40])


def test_without_a_rig_truth_is_up_to_scale() -> None:
    bare = sample(disparity=np.full((20, 40), 5.0, dtype=np.float32))
    pair = JudgedSet(Listed([replace(bare, frame=replace(bare.frame, rig=None))]), [0], SIZE, 3.0)[
        0
    ]
    assert not pair.metric
    assert pair.truth is not None
    assert pair.truth[0, 0] == pytest.approx(1 / 5)
