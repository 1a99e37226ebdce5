from dataclasses import dataclass

import pytest

from rangemask.backends.options import LoadOptions, make_config, refuse_weights
from rangemask.backends.registry import load_depth, load_masks, load_stereo, names
from rangemask.errors import InputError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Config:
    quality: str = "best"

    def __post_init__(self) -> None:
        if self.quality != "best":
            raise ValueError("quality must be 'best'")


def test_names_without_weights_load() -> None:
    assert load_stereo("sgbm").passport.model == "sgbm"
    assert load_masks("geometry").passport.model == "geometry"


def test_every_role_has_students_and_models_of_its_own() -> None:
    for role in ("stereo", "depth", "masks"):
        assert {"student"} < set(names(role))
    assert names("depth")[0] == "depth-anything-v2-small"


def test_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"known: sgbm, .*Did you mean .sgbm."):
        load_stereo("sgmb")
    with pytest.raises(UnknownNameError, match=r"known: geometry, sam2\.1-tiny, .*student:PATH\.$"):
        load_masks("xyz")
    with pytest.raises(UnknownNameError, match=r"depth-anything-v2-small-metric-indoor"):
        load_depth("depth-anything-v2-tiny")


def test_options_become_a_config() -> None:
    assert make_config("m", Config, {"quality": "best"}) == Config()
    with pytest.raises(InputError, match="m has no option 'speed'; it knows quality"):
        make_config("m", Config, {"speed": 1})
    with pytest.raises(InputError, match="m: quality must be 'best'"):
        make_config("m", Config, {"quality": "worst"})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (LoadOptions(checkpoint="a.pth"), "has no weights"),
        (LoadOptions(device="cuda"), "runs on the CPU"),
        (LoadOptions(precision="float16"), "computes in float32"),
    ],
)
def test_models_without_weights_say_so(given: LoadOptions, words: str) -> None:
    with pytest.raises(InputError, match=words):
        refuse_weights("sgbm", given)
    refuse_weights("sgbm", LoadOptions(device="cpu", precision="float32"))
