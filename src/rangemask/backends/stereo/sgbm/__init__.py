"""Semi-global matching: disparity of a rectified pair, with confidence, without weights."""

from typing import Any

from rangemask.backends.options import LoadOptions, make_config, refuse_weights
from rangemask.backends.stereo.sgbm.config import SgbmConfig
from rangemask.backends.stereo.sgbm.matcher import SgbmMatcher

__all__ = ["SgbmConfig", "SgbmMatcher", "build"]


def build(given: LoadOptions, **options: Any) -> SgbmMatcher:
    """The matcher for the registry.

    Raises:
        InputError: weights or a device were asked for, or an option is unknown or impossible.
    """
    refuse_weights("sgbm", given)
    return SgbmMatcher(make_config("sgbm", SgbmConfig, options))
