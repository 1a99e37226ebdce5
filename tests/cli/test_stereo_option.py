"""Options of a matcher on the command line."""

from typing import Any

import pytest

from rangemask.cli.predict import _matcher, _own_options
from rangemask.errors import InputError


def test_values_are_read_as_what_they_are() -> None:
    found = _own_options(["iterations=8", "scale=0.5", "hierarchical=true", "attention=heads"])
    assert found == {"iterations": 8, "scale": 0.5, "hierarchical": True, "attention": "heads"}
    assert _own_options(None) == {}


@pytest.mark.parametrize("word", ["iterations", "=8", ""])
def test_what_is_no_option_is_said(word: str) -> None:
    with pytest.raises(InputError, match="--stereo-option is NAME=VALUE"):
        _own_options([word])
    with pytest.raises(InputError, match=r"cannot read '\['"):
        _own_options(["a=["])


def matcher(name: str, own: dict[str, Any], device: str = "cpu") -> Any:
    return _matcher(name, None, fill=False, depth=None, own=own, where=(device, "auto"))


def test_options_reach_the_matcher() -> None:
    assert matcher("sgbm", {}) == "sgbm"
    assert matcher("sgbm", {"quality": "fast"}, "auto").config.quality == "fast"
    with pytest.raises(InputError, match="foundation-stereo has no option 'iters'"):
        matcher("foundation-stereo:none.pth", {"iters": 8})
    with pytest.raises(InputError, match=r"none\.pth: no such checkpoint"):
        matcher("foundation-stereo:none.pth", {"iterations": 8})
    with pytest.raises(InputError, match="--stereo none has none"):
        matcher("none", {"iterations": 8})
