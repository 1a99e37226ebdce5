"""FoundationStereo's ``K.txt``: nine numbers of K in row order, then the baseline in metres.

Neither the image size nor doffs has a place in it.
"""

from __future__ import annotations

from pathlib import Path

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, rectified_of
from rangemask.camera.rig_files.numbers import number_list
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.rig import Rig

_TITLE = "FoundationStereo K.txt"


def _recognises(source: Source) -> bool:
    words = source.text.replace(",", " ").split()
    numeric = all(word.lstrip("+-").replace(".", "", 1)[:1].isdigit() or word in ("nan", "inf")
                  for word in words)  # fmt: skip
    return numeric or source.path.name.lower() == "k.txt"


def _read(source: Source, size: Size | None) -> Rig:
    words = source.text.replace(",", " ").split()
    if len(words) != 10:
        raise InputError(
            f"{source.path}: expected ten numbers (the nine of K in row order, then the baseline "
            f"in metres), found {len(words)} words."
        )
    fields = Fields(source.path, {"K (line 1)": words[:9], "baseline (line 2)": words[9]})
    fx, fy, cx, cy = fields.intrinsics("K (line 1)")
    width, height = size or (None, None)
    with saying(source.path):
        return Rig.rectified(
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            baseline_m=fields.positive("baseline (line 2)", "metres"),
            width=width,
            height=height,
            name=source.path.stem,
        )


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    _, baseline_m = rectified_of(rig, _TITLE)
    if rig.doffs_px != 0:
        raise InputError(
            f"a {_TITLE} file holds one camera matrix for both cameras, the rig has doffs of "
            f"{rig.doffs_px:g} px. Save as rig.yaml, which holds every rig."
        )
    k = number_list(rig.left.matrix.flat).replace(",", "")
    return {path: f"{k}\n{number_list([baseline_m])}\n"}


FOUNDATION_STEREO = RigFormat(
    name="foundation-stereo",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
