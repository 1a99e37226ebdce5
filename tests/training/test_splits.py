"""Laws of splits: whole recordings, every frame once, the same for the same seed."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.training.splits import Split, split_sequences

RECORDINGS = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60).filter(
    lambda names: len(set(names)) > 1
)


@settings(deadline=None)
@given(sequences=RECORDINGS, share=st.floats(0.01, 0.99), seed=st.integers(0, 2**40))
def test_no_recording_is_on_both_sides(sequences: list[str], share: float, seed: int) -> None:
    split = split_sequences(sequences, val_share=share, seed=seed)
    assert not {sequences[i] for i in split.train} & {sequences[i] for i in split.val}
    assert sorted(split.train + split.val) == list(range(len(sequences)))
    assert split.train
    assert split.val
    assert not split.dropped
    assert not split.warning
    assert split == split_sequences(sequences, val_share=share, seed=seed)
    assert set(split.val_sequences) == {sequences[i] for i in split.val}
    assert set(split.train_sequences) == {sequences[i] for i in split.train}


@settings(deadline=None)
@given(share=st.floats(0.05, 0.9), seed=st.integers(0, 1000))
def test_the_share_is_met_as_nearly_as_recordings_allow(share: float, seed: int) -> None:
    sequences = [f"s{i // 5}" for i in range(200)]
    split = split_sequences(sequences, val_share=share, seed=seed)
    assert abs(len(split.val) - share * 200) <= 5


def test_seeds_choose_others_and_order_has_no_say() -> None:
    sequences = [f"s{i // 3}" for i in range(60)]
    held = {split_sequences(sequences, seed=seed).val_sequences for seed in range(8)}
    assert len(held) > 4
    backwards = split_sequences(sequences[::-1], seed=3)
    assert backwards.val_sequences == split_sequences(sequences, seed=3).val_sequences


def test_recordings_that_are_added_leave_most_where_they_were() -> None:
    before = [f"s{i}" for i in range(40)]
    first = set(split_sequences(before, val_share=0.25).val_sequences)
    second = set(split_sequences([*before, "new1", "new2"], val_share=0.25).val_sequences)
    assert len(first & second) >= 9


@pytest.mark.parametrize("count", [2, 3, 10, 500])
def test_one_recording_is_cut_into_blocks_with_a_gap(
    count: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        split = split_sequences(["walk"] * count, val_share=0.2)
    assert "one sequence, 'walk'" in caplog.text
    assert split.warning in caplog.text
    assert split.train + split.dropped + split.val == tuple(range(count))
    assert split.train
    assert split.val
    if count == 500:
        assert (len(split.val), len(split.dropped)) == (100, 10)
        assert "400" not in str(split)
        assert "390 frames of 1 sequences to train on" in str(split)
        assert "10 frames used for neither" in str(split)


def test_the_gap_can_be_chosen() -> None:
    split = split_sequences(["walk"] * 20, val_share=0.1, gap=5)
    assert split.dropped == tuple(range(13, 18))


def test_recordings_can_be_named() -> None:
    sequences = ["a", "a", "b", "c", "c"]
    assert split_sequences(sequences, val=["b"]) == Split(
        train=(0, 1, 3, 4), val=(2,), train_sequences=("a", "c"), val_sequences=("b",)
    )
    assert split_sequences(sequences, train=["c"]).val == (0, 1, 2)
    both = split_sequences(sequences, train=["a"], val=["b"])
    assert (both.train, both.val, both.dropped) == ((0, 1), (2,), (3, 4))


def test_nothing_need_be_held_out() -> None:
    split = split_sequences(["a", "b"], val_share=0)
    assert (split.train, split.val) == ((0, 1), ())
    assert str(split) == "2 frames of 2 sequences to train on; 0 frames of 0 sequences held out"


@pytest.mark.parametrize(
    ("sequences", "options", "words"),
    [
        ([], {}, "no samples to split"),
        (["a", "b"], {"val_share": 1.0}, "val_share must lie within"),
        (["a", "b"], {"val_share": float("nan")}, "val_share must lie within"),
        (["a", "b"], {"val": ["x"]}, "val names sequences .* 'x'. It has 'a', 'b'"),
        (["a", "b"], {"train": ["x", "y"]}, "train names sequences .* 'x', 'y'"),
        (["a", "b"], {"train": ["a"], "val": ["a"]}, "both train and val: 'a'"),
        (["a", "b"], {"val": ["a", "b"]}, "nothing is left to train on"),
        (["a", "b"], {"train": []}, "nothing is left to train on: name"),
        (["a"], {}, "nothing is left to train on. Record more sequences"),
        (["a"] * 5, {"gap": 4}, "a gap of 4 nothing is left"),
        (["a"] * 5, {"gap": -1}, "gap must not be negative"),
        ([f"s{i}" for i in range(20)], {"val": ["x"]}, "and 8 more"),
    ],
)
def test_bad_splits_speak(sequences: list[str], options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        split_sequences(sequences, **options)
