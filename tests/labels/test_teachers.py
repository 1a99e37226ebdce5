"""One frame by its teachers: what is weighed, painted and named in the recipes."""

import numpy as np
import pytest

from rangemask.data.synthetic import random_scene, render
from rangemask.errors import UnknownNameError
from rangemask.labels.config import LabelConfig
from rangemask.labels.teachers import BACKGROUND, KnowsClasses, Teachers, painted, possible
from rangemask.structures import MaskSet, StereoFrame, StereoMatch
from support.datasets import RIG

FAST = {"quality": "fast"}


@pytest.fixture(scope="module")
def pair() -> StereoFrame:
    return render(random_scene(1), RIG).frame


def test_offline_teachers_make_all_kinds(pair: StereoFrame) -> None:
    teachers = Teachers(LabelConfig(stereo_options=FAST), RIG)
    judged = teachers(pair)
    labels = judged.labels
    assert labels.disparity is not None
    assert labels.weight is not None
    assert labels.confidence is not None
    assert (labels.weight <= labels.confidence).all()
    assert labels.masks is not None
    assert len(labels.distances_m) == len(labels.masks) > 0
    assert set(judged.quality) == {"exposure", "coverage", "trust", "masks"}
    assert isinstance(teachers.masks, KnowsClasses)
    assert labels.semantic is not None
    assert set(labels.semantic.names[1:]) == set(teachers.classes)


def test_a_second_opinion_takes_trust_away_where_it_differs(pair: StereoFrame) -> None:
    teachers = Teachers(
        LabelConfig(masks=None, stereo_options=FAST, second_stereo="sgbm", left_right="on"), RIG
    )
    sure = teachers.stereo
    assert sure is not None
    wrong = (slice(40, 80), slice(60, 120))

    class Mistaken:
        """Sure of itself, and wrong in one place of the left view."""

        passport = sure.passport

        def __call__(self, frame: StereoFrame) -> StereoMatch:
            match = sure(frame)
            if frame.rig is not None:  # not in the mirror
                match.disparity[wrong] += 12
                match.confidence[wrong] = 1
            return match

    teachers.stereo = Mistaken()
    judged = teachers(pair)
    assert {"left-right", "agreement"} <= set(judged.quality)
    assert judged.labels.weight is not None
    weight = judged.labels.weight
    assert weight[wrong].mean() < 0.05
    assert weight[90:].mean() > 0.4
    assert judged.quality["agreement"] < 0.95


def test_recipes_know_every_model_that_had_a_part() -> None:
    config = LabelConfig(second_stereo="sgbm", stereo_options=FAST)
    recipes = Teachers(config, RIG).recipes
    assert set(recipes) == {"disparity", "confidence", "weight", "masks", "semantic"}
    assert [model.role for model in recipes["weight"].models] == ["stereo", "second stereo"]
    assert [model.role for model in recipes["masks"].models] == ["masks", "stereo"]
    assert recipes["weight"].key != Teachers(LabelConfig(stereo_options=FAST)).recipes["weight"].key


def test_kinds_for_single_images_leave_stereo_out() -> None:
    teachers = Teachers(LabelConfig())
    assert teachers.kinds_for(pair=False) == ("masks", "semantic")


def test_labels_that_are_asked_for_become_the_classes() -> None:
    teachers = Teachers(LabelConfig(labels=("object",)))
    assert teachers.classes == ("object", BACKGROUND)


def test_an_unknown_teacher_speaks() -> None:
    with pytest.raises(UnknownNameError, match="sgbm"):
        Teachers(LabelConfig(stereo="sgmb"))


def test_masks_are_painted_by_score_over_the_background() -> None:
    masks = np.zeros((2, 2, 4), dtype=bool)
    masks[0, :, :3] = True
    masks[1, :, 2:] = True
    found = MaskSet.from_dense(masks, labels=["a", "b"], scores=[0.9, 0.5])
    semantic = painted(found, ("b", "a"))
    assert semantic.names == ("unknown", "b", "a", BACKGROUND)
    assert semantic.ids.tolist() == [[2, 2, 2, 1]] * 2
    assert painted(MaskSet(1, 2), ("a",)).ids.tolist() == [[2, 2]]


def test_what_lies_behind_infinity_is_unknown() -> None:
    disparity = np.array([[-4.0, -1.0, 3.0, np.nan]], dtype=np.float32)
    nothing = np.zeros((1, 4), dtype=bool)
    match = StereoMatch(
        disparity=disparity,
        confidence=np.where(np.isfinite(disparity), np.float32(1), np.float32(0)),
        occluded=nothing,
        filled=nothing,
    )
    plain = possible(match, None)
    assert np.isfinite(plain.disparity).tolist() == [[False, False, True, False]]
    assert plain.confidence.tolist() == [[0, 0, 1, 0]]
    shifted = RIG.rectified(fx=9, cx=1, cy=1, baseline_m=1, width=4, height=1, doffs_px=2)
    assert np.isfinite(possible(match, shifted).disparity).tolist() == [[False, True, True, False]]
