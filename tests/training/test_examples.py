"""From samples to examples: names of classes, scales of depth, and what is missing."""

from __future__ import annotations

import logging
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, MaskSet, SemanticMap, StereoFrame
from rangemask.training.augmentation import Augmentation
from rangemask.training.batch import Example, collate
from rangemask.training.examples import Need, TrainingSet, Wanted, check_classes, to_example
from support.judged import Listed
from support.training_pairs import assert_same

HEIGHT, WIDTH = 24, 36
RIG = Rig.rectified(
    fx=50.0, cx=17.5, cy=11.5, baseline_m=0.2, width=WIDTH, height=HEIGHT, doffs_px=1.0
)
NAMES = ("unknown", "floor", "chair", "person")


def sample_of(seed: int = 0, **changes: object) -> Sample:
    random = np.random.default_rng(seed)
    left, right = (random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8) for _ in range(2))
    ids = random.integers(0, 4, (HEIGHT, WIDTH)).astype(np.uint8)
    disparity = random.uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32)
    disparity[0, :4] = (np.nan, np.inf, -3, 0)
    masks = np.stack([ids == 2, ids == 3, np.zeros_like(ids, dtype=bool), ids == 1])
    given = {
        "frame": StereoFrame(left, right, RIG, f"f{seed}"),
        "sequence": f"s{seed // 2}",
        "disparity": disparity,
        "weight": random.uniform(0, 1, (HEIGHT, WIDTH)).astype(np.float32),
        "masks": MaskSet.from_dense(masks, labels=["chair", "person", "person", "floor"]),
        "semantic": SemanticMap(ids, NAMES),
    }
    return Sample(**(given | changes))  # type: ignore[arg-type]


def wanted(*needs: Need, **options: object) -> Wanted:
    return Wanted(needs=frozenset(needs), **options)  # type: ignore[arg-type]


def test_only_what_is_needed_comes_along() -> None:
    sample = sample_of()
    bare = to_example(sample, wanted())
    assert [f.name for f in fields(Example) if getattr(bare, f.name) is not None] == [
        "name",
        "image",
    ]
    assert bare.name == "f0"
    image = sample.frame.left.transpose(2, 0, 1).astype(np.float32) / 255
    np.testing.assert_array_equal(bare.image.numpy(), image)
    assert bare.image.is_contiguous()
    stereo = to_example(sample, wanted("right", "disparity"))
    assert stereo.right_image is not None
    right = sample.frame.right
    assert right is not None
    np.testing.assert_allclose(
        stereo.right_image.numpy() * 255, right.transpose(2, 0, 1), atol=1e-4
    )
    assert stereo.weight is not None
    np.testing.assert_array_equal(stereo.weight.numpy(), sample.weight)
    assert to_example(sample, wanted("masks")).weight is None


def test_samples_are_not_shared_with_examples() -> None:
    sample = sample_of()
    example = to_example(sample, wanted("right", "disparity"))
    before = sample.frame.left.copy()
    example.image.zero_()
    assert example.weight is not None
    example.weight.zero_()
    np.testing.assert_array_equal(sample.frame.left, before)
    assert sample.weight is not None
    assert sample.weight.any()


def test_impossible_disparity_and_depth_are_unknown() -> None:
    disparity = to_example(sample_of(), wanted("disparity")).disparity
    assert disparity is not None
    assert disparity[0, :4].isnan().tolist() == [True, True, True, False]
    assert disparity[0, 3] == 0
    values = np.full((HEIGHT, WIDTH), 2, dtype=np.float32)
    values[0, :3] = (0, -1, np.inf)
    depth = to_example(sample_of(depth=DepthMap(values=values)), wanted("depth")).depth
    assert depth is not None
    assert depth[0, :4].isnan().tolist() == [True, True, True, False]


def test_depth_comes_from_disparity_and_the_rig() -> None:
    sample = sample_of()
    depth = to_example(sample, wanted("depth")).depth
    assert depth is not None
    assert sample.disparity is not None
    np.testing.assert_allclose(depth[1:].numpy(), 10 / (sample.disparity[1:] + 1), rtol=1e-5)
    own = DepthMap(values=np.full((HEIGHT, WIDTH), 2, dtype=np.float32))
    depth = to_example(sample_of(depth=own), wanted("depth")).depth
    assert depth is not None
    assert (depth == 2).all()


def test_relative_depth_grows_towards_the_camera_whatever_it_comes_from() -> None:
    stage = wanted("depth", depth="relative_inverse")
    metres = np.linspace(1, 5, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)
    for kind, values, expected in (
        ("relative_inverse", metres, metres),
        ("metric_m", metres, 1 / metres),
        ("up_to_scale", metres, 1 / metres),
    ):
        labels = DepthMap(values=values, kind=kind)  # type: ignore[arg-type]
        depth = to_example(sample_of(depth=labels, disparity=None), stage).depth
        assert depth is not None
        np.testing.assert_allclose(depth.numpy(), expected, rtol=1e-6)
    sample = sample_of()
    depth = to_example(sample, stage).depth
    assert depth is not None
    assert sample.disparity is not None
    np.testing.assert_array_equal(depth[1:].numpy(), sample.disparity[1:])


def test_guessed_depth_has_no_weight_unless_one_is_given() -> None:
    values = np.full((HEIGHT, WIDTH), 2, dtype=np.float32)
    filled = np.zeros((HEIGHT, WIDTH), dtype=bool)
    filled[3] = True
    labels = DepthMap(values=values, filled=filled)
    weight = to_example(sample_of(depth=labels, weight=None), wanted("depth")).weight
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), ~filled)
    given = sample_of(depth=labels)
    weight = to_example(given, wanted("depth")).weight
    assert weight is not None
    np.testing.assert_array_equal(weight.numpy(), given.weight)


def test_classes_go_by_name_and_others_are_unknown() -> None:
    sample = sample_of()
    assert sample.semantic is not None
    stage = wanted("semantic", "masks", classes=("person", "floor"))
    example = to_example(sample, stage)
    assert example.semantic is not None
    assert example.semantic.dtype == torch.int64
    table = np.array([0, 2, 0, 1])
    np.testing.assert_array_equal(example.semantic.numpy(), table[sample.semantic.ids])
    # Objects: the chair is left out, and so is the person that no pixel shows.
    assert example.masks is not None
    assert example.mask_classes is not None
    assert example.mask_classes.tolist() == [0, 1]
    np.testing.assert_array_equal(example.masks[0].numpy(), sample.semantic.ids == 3)
    np.testing.assert_array_equal(example.masks[1].numpy(), sample.semantic.ids == 1)


def test_the_rest_can_be_a_class() -> None:
    sample = sample_of()
    assert sample.semantic is not None
    stage = wanted("semantic", "masks", classes=("person", "background"), rest="background")
    example = to_example(sample, stage)
    assert example.semantic is not None
    np.testing.assert_array_equal(example.semantic, np.array([0, 2, 2, 1])[sample.semantic.ids])
    assert example.mask_classes is not None
    assert example.mask_classes.tolist() == [1, 0, 1]


def test_masks_without_classes_are_all_of_one() -> None:
    example = to_example(sample_of(), wanted("masks"))
    assert example.masks is not None
    assert example.mask_classes is not None
    assert example.masks.shape == (3, HEIGHT, WIDTH)
    assert example.mask_classes.tolist() == [0, 0, 0]
    nothing = sample_of(masks=MaskSet(HEIGHT, WIDTH))
    example = to_example(nothing, wanted("masks"))
    assert example.masks is not None
    assert example.mask_classes is not None
    assert example.masks.shape == (0, HEIGHT, WIDTH)
    assert example.masks.dtype == torch.bool
    assert example.mask_classes.dtype == torch.int64


def test_a_semantic_map_is_painted_from_masks() -> None:
    large, small = (np.zeros((HEIGHT, WIDTH), dtype=bool) for _ in range(2))
    large[2:20, 2:20] = True
    small[5:8, 5:8] = True
    for order in ([0, 1], [1, 0]):
        masks = MaskSet.from_dense(np.stack([small, large]), labels=["chair", "person"])
        sample = sample_of(semantic=None, masks=masks.select(order))
        ids = to_example(sample, wanted("semantic", classes=("person", "chair"))).semantic
        assert ids is not None
        np.testing.assert_array_equal(ids.numpy(), np.where(small, 2, large.astype(int)))
        stage = wanted("semantic", classes=("person", "rest"), rest="rest")
        ids = to_example(sample, stage).semantic
        assert ids is not None
        np.testing.assert_array_equal(ids.numpy(), np.where(large & ~small, 1, 2))


@pytest.mark.parametrize(
    ("changes", "stage", "words"),
    [
        ({"disparity": None}, wanted("disparity"), "f0: .* learns from disparity, .* it has masks"),
        ({"masks": None}, wanted("masks"), "learns from instance masks"),
        (
            {"masks": None, "semantic": None},
            wanted("semantic", classes=("person",)),
            "learns from a semantic map or masks",
        ),
        ({"disparity": None}, wanted("depth"), "learns from depth, which the sample lacks"),
        (
            {"disparity": None},
            wanted("depth", depth="relative_inverse"),
            "learns from depth, which the sample lacks",
        ),
        (
            {
                "disparity": None,
                "depth": DepthMap(
                    values=np.ones((HEIGHT, WIDTH), dtype=np.float32), kind="relative_inverse"
                ),
            },
            wanted("depth"),
            "is relative_inverse: it has no scale in metres, .* learns metres. Label with a stereo",
        ),
        ({}, wanted("semantic", classes=("dog",)), "head has dog, the data floor, chair, person"),
    ],
)
def test_what_is_missing_speaks(changes: dict[str, object], stage: Wanted, words: str) -> None:
    with pytest.raises(InputError, match=words):
        to_example(sample_of(**changes), stage)


def test_single_images_and_missing_rigs_speak() -> None:
    sample = sample_of()
    left = sample.frame.left
    mono = replace(sample, frame=StereoFrame(left, None, None, "mono"))
    with pytest.raises(InputError, match="mono: this stage learns from a right image"):
        to_example(mono, wanted("right"))
    with pytest.raises(InputError, match="disparity but no rig"):
        to_example(mono, wanted("depth"))
    raw = replace(RIG, left=replace(RIG.left, distortion=(0.1, 0, 0, 0)))
    bent = replace(sample, frame=StereoFrame(left, sample.frame.right, raw, "bent"))
    with pytest.raises(InputError, match="bent: depth from disparity: the rig is not rectified"):
        to_example(bent, wanted("depth"))
    bare = Sample(frame=StereoFrame(left, None, None, "bare"))
    with pytest.raises(InputError, match="it has no labels"):
        to_example(bare, wanted("disparity"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"needs": {"colour"}}, "needs are right, disparity, .*, got colour"),
        ({"needs": {"depth"}, "depth": "feet"}, "depth must be one of metric_m"),
        ({"needs": {"masks"}, "classes": ("a", "a")}, "each class is named once"),
        ({"needs": {"semantic"}}, "needs the names of its classes"),
        ({"needs": {"masks"}, "classes": ("a",), "rest": "b"}, r"classes \(a\), got 'b'"),
        ({"needs": {"masks"}, "rest": "b"}, r"classes \(none\), got 'b'"),
    ],
)
def test_bad_wishes_speak(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Wanted(**options)  # type: ignore[arg-type]


def test_a_class_list_that_does_not_match_names_both() -> None:
    stage = wanted("masks", classes=("person", "sofa"))
    with pytest.raises(InputError, match="head has person, sofa, the data floor, chair, person"):
        check_classes(NAMES[1:], stage)
    with pytest.raises(InputError, match="the data lacks sofa"):
        TrainingSet(Listed((sample_of(),), NAMES[1:]), stage, size=(28, 42))
    check_classes(NAMES[1:], replace(stage, partial=True))
    check_classes(NAMES[1:], replace(stage, rest="sofa"))
    check_classes((), stage)
    check_classes(NAMES[1:], wanted("masks"))
    with pytest.raises(InputError, match="the data lacks dog"):
        check_classes(NAMES[1:], wanted("masks", classes=("dog",), partial=True))
    # Stages that need no classes do not ask.
    TrainingSet(Listed((sample_of(),), NAMES[1:]), wanted("depth", classes=("dog",)), size=(28, 42))


FULL = wanted("right", "disparity", "semantic", classes=("person", "floor"))


def training_set(**options: object) -> TrainingSet:
    data = Listed(tuple(sample_of(i) for i in range(6)), NAMES[1:])
    given: dict[str, object] = {
        "size": (28, 42),
        "augmentation": Augmentation.preset("full"),
        "seed": 5,
    }
    return TrainingSet(data, FULL, **(given | options))  # type: ignore[arg-type]


def test_examples_hang_on_seed_epoch_and_sample_alone() -> None:
    first, second = training_set(), training_set()
    for index in (4, 0, 2):
        assert_same(first[index], first[index])
    assert_same(first[3], second[3])
    first.set_epoch(1)
    assert not torch.equal(first[3].image, second[3].image)
    assert_same(first[3], second[1, 3])
    second.set_epoch(1)
    assert_same(first[3], second[3])
    assert_same(second[0, 3], training_set()[3])
    assert not torch.equal(training_set(seed=6)[3].image, training_set()[3].image)
    # A split names samples by their number, and that is what counts.
    assert_same(training_set(indices=(3, 5))[0], training_set()[3])


# Python 3.12 and later warn of forks once torch has started threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_see_what_one_process_sees() -> None:
    alone = training_set()
    shared = training_set()
    loader = DataLoader(
        shared,
        batch_size=2,
        collate_fn=collate,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    for epoch in range(2):
        alone.set_epoch(epoch)
        shared.set_epoch(epoch)
        batches = list(loader)
        images = torch.cat([batch.images for batch in batches])
        torch.testing.assert_close(
            images, torch.stack([alone[i].image for i in range(6)]), rtol=0, atol=0
        )


def test_validation_is_fitted_in_and_never_changes() -> None:
    held = training_set(augmentation=None, size=(28, 56))
    example = held[1]
    assert example.image.shape == (3, 28, 56)
    held.set_epoch(7)
    assert_same(example, held[1])
    own = training_set(augmentation=None, size=None, multiple=28)
    assert own[0].image.shape == (3, 28, 56)
    torch.testing.assert_close(
        own[0].image[:, :HEIGHT, :WIDTH], to_example(sample_of(0), FULL).image
    )
    assert training_set(size=None)[0].image.shape == (3, 28, 42)


def test_samples_that_teach_nothing_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    empty = sample_of(
        0,
        disparity=np.full((HEIGHT, WIDTH), np.nan, dtype=np.float32),
        semantic=SemanticMap(np.zeros((HEIGHT, WIDTH), dtype=np.uint8), NAMES),
    )
    data = TrainingSet(Listed((empty, sample_of(1)), NAMES[1:]), FULL, size=(28, 42))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for index in range(2):
                assert data[index].image.shape == (3, 28, 42)
    assert caplog.text.count("f0: no pixel has a known label (disparity, semantic)") == 1
    assert "f1" not in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (30, 42)}, "multiples of 14 px"),
        ({"size": (28, 42), "multiple": 28}, "multiples of 28 px, got .28, 42.; 28 x 56"),
        ({"indices": ()}, "no samples to learn from"),
        ({"indices": (0, 6)}, "within 0 to 5, got 0 to 6"),
    ],
)
def test_bad_sets_speak(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        training_set(**options)


def test_bad_epochs_and_samples_speak() -> None:
    data = training_set()
    with pytest.raises(InputError, match="epoch must not be negative"):
        data.set_epoch(-1)
    with pytest.raises(IndexError):
        data[6]
    lacking = Listed((sample_of(0, disparity=None),), NAMES[1:])
    with pytest.raises(InputError, match="f0: this stage learns from disparity"):
        TrainingSet(lacking, FULL, size=(28, 42))[0]
