"""Which frames a path holds: a pair, a folder of pairs, side-by-side images, single images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import StereoFrame
from rangemask.structures.images import IMAGE_SUFFIXES, MAX_PIXELS

Layout: TypeAlias = Literal["pair", "side-by-side", "mono"]

RIG_NAMES = ("rig.yaml", "rig.yml", "rig.json", "calib.txt", "calib.json", "K.txt")
"""Calibration files looked for inside a folder of frames, in this order."""

_VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".mov", ".webm"})
_FOLDER_PAIRS = (("left", "right"), ("image_2", "image_3"), ("image_0", "image_1"))
_SIDE = re.compile(r"(?<![a-z])(left|right|im0|im1|l|r)(?![a-z])", re.IGNORECASE)
_PARTNER = {"left": "right", "im0": "im1", "l": "r"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSource:
    """Where one frame's images are."""

    name: str
    """Unique within its list; names the folder that results go to."""
    left: Path
    right: Path | None = None
    side_by_side: bool = False
    """Whether ``left`` holds both images next to each other."""

    def read(
        self, rig: Rig | None, *, scale_rig: bool = False, max_pixels: int = MAX_PIXELS
    ) -> StereoFrame:
        """Read the images.

        Args:
            rig: calibration of the images.
            scale_rig: scale the rig when the images have another size than it.
            max_pixels: largest image accepted, px.

        Raises:
            InputError: see ``StereoFrame.read``.
        """
        first_rig = None if scale_rig else rig
        if self.side_by_side:
            frame = StereoFrame.read_side_by_side(
                self.left, rig=first_rig, name=self.name, max_pixels=max_pixels
            )
        else:
            frame = StereoFrame.read(
                self.left, self.right, rig=first_rig, name=self.name, max_pixels=max_pixels
            )
        if rig is None or not scale_rig:
            return frame
        fitting = rig.scaled(frame.width, frame.height) if rig.size else rig
        return StereoFrame(frame.left, frame.right, fitting, frame.name)


def find_frames(
    left: str | Path,
    right: str | Path | None = None,
    *,
    layout: Layout | None = None,
    rig: Rig | None = None,
    left_pattern: str | None = None,
    right_pattern: str | None = None,
) -> list[FrameSource]:
    """List the frames that a command line names.

    Args:
        left: image file or folder; with ``right`` the left camera's image or folder.
        right: the right camera's image or folder.
        layout: what the images are; found out where it is not given.
        rig: a side-by-side image is recognised by having twice its width.
        left_pattern: glob below a folder, such as ``cam0/*.png``.
        right_pattern: glob of the right images; pairs go by sorted order.

    Returns:
        at least one source, sorted by name.

    Raises:
        InputError: nothing is there, or what is there does not pair up.
    """
    path = Path(left)
    if str(left).startswith("camera:") or path.suffix.lower() in _VIDEO_SUFFIXES:
        raise InputError(f"{left}: cameras and video files cannot be read yet; give image files.")
    if not path.exists():
        raise InputError(f"{path}: expected an image or a folder, but it does not exist.")
    if (left_pattern is None) != (right_pattern is None):
        raise InputError("--left-pattern and --right-pattern go together; only one was given.")
    if right is not None:
        if layout not in {None, "pair"}:
            raise InputError(f"two paths were given, which is a pair, but --layout is {layout}.")
        return _two_paths(path, Path(right))
    if path.is_file():
        return [_single_file(path, layout, rig)]
    if left_pattern is not None and right_pattern is not None:
        return _zip_images(sorted(path.glob(left_pattern)), sorted(path.glob(right_pattern)), path)
    return _folder(path, layout, rig)


def find_rig_file(folder: str | Path) -> Path | None:
    """A calibration file lying in a folder of frames under a usual name, if there is one."""
    root = Path(folder)
    if not root.is_dir():
        return None
    return next((root / name for name in RIG_NAMES if (root / name).is_file()), None)


def _two_paths(left: Path, right: Path) -> list[FrameSource]:
    if not right.exists():
        raise InputError(f"{right}: expected an image or a folder, but it does not exist.")
    if left.is_dir() != right.is_dir():
        raise InputError(f"expected two images or two folders, got {left} and {right}.")
    if left.is_dir():
        return _zip_images(_images(left), _images(right), left)
    return [FrameSource(name=plain_name(left.stem), left=left, right=right)]


def _single_file(path: Path, layout: Layout | None, rig: Rig | None) -> FrameSource:
    if layout == "pair":
        raise InputError(f"{path}: --layout pair needs two images, LEFT and RIGHT.")
    if layout is None and rig is not None and rig.size is not None:
        layout = "side-by-side" if _size_of(path) == (2 * rig.size[0], rig.size[1]) else "mono"
    return FrameSource(name=plain_name(path.stem), left=path, side_by_side=layout == "side-by-side")


def _folder(root: Path, layout: Layout | None, rig: Rig | None) -> list[FrameSource]:
    if layout in {None, "pair"}:
        for first, second in _FOLDER_PAIRS:
            if (root / first).is_dir() and (root / second).is_dir():
                return _zip_images(_images(root / first), _images(root / second), root)
        pairs = _pairs_by_name(root)
        if pairs or layout == "pair":
            if not pairs:
                raise InputError(
                    f"{root}: found no pairs. Expected left/ and right/ inside, or names such as "
                    "a_left.png and a_right.png; or give --left-pattern and --right-pattern."
                )
            return pairs
    images = _images(root)
    if not images:
        raise InputError(f"{root}: holds no images and no folders left/ and right/.")
    return _unique([_single_file(path, layout, rig) for path in images])


def _pairs_by_name(root: Path) -> list[FrameSource]:
    """Pairs such as ``a_left.png`` + ``a_right.png`` or ``scene/im0.png`` + ``scene/im1.png``."""
    files = sorted(
        path
        for path in (*root.glob("*"), *root.glob("*/*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
    )
    by_path = {path.relative_to(root).as_posix().lower(): path for path in files}
    sources = []
    for key, path in by_path.items():
        side = _SIDE.search(Path(key).stem)
        if side is None or side.group(1) not in _PARTNER:
            continue
        start = len(key) - len(Path(key).name)
        partner = key[: start + side.start()] + _PARTNER[side.group(1)] + key[start + side.end() :]
        if partner in by_path:
            stem = path.relative_to(root).with_suffix("").as_posix()
            sources.append(
                FrameSource(name=plain_name(_SIDE.sub("", stem)), left=path, right=by_path[partner])
            )
    return _unique(sources)


def _zip_images(left: Sequence[Path], right: Sequence[Path], root: Path) -> list[FrameSource]:
    """Pair files by equal stems where they have them, else by sorted order."""
    if not left or not right:
        raise InputError(f"{root}: found {len(left)} left and {len(right)} right images.")
    by_stem = {path.stem: path for path in right}
    alone = [path for path in left if path.stem not in by_stem]
    # Names that differ throughout pair by order; where some agree, a lack must not shift the rest.
    if alone and (len(left) != len(right) or len(alone) < len(left)):
        raise InputError(
            f"{root}: {len(left)} left and {len(right)} right images do not pair up; "
            f"{alone[0].name} has no partner of that name."
        )
    partners = right if alone else [by_stem[path.stem] for path in left]
    return _unique(
        [
            FrameSource(name=plain_name(first.stem), left=first, right=second)
            for first, second in zip(left, partners, strict=True)
        ]
    )


def _unique(sources: Sequence[FrameSource]) -> list[FrameSource]:
    names: dict[str, FrameSource] = {}
    for source in sources:
        clash = names.setdefault(source.name.lower(), source)
        if clash is not source:
            raise InputError(
                f"{clash.left} and {source.left} would both write to {source.name!r}; "
                "rename one of them."
            )
    return sorted(sources, key=lambda source: source.name)


def _images(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def plain_name(text: str) -> str:
    """A folder name from a path: no separators, no leftovers of a cut-out left or right."""
    name = re.sub(r'[\\/:*?"<>|\s]+', "_", text)
    name = re.sub(r"([_.-])[_.-]+", r"\1", name).strip("_.-")
    return name or "frame"


def _size_of(path: Path) -> tuple[int, int] | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except (UnidentifiedImageError, OSError):
        return None  # reading it will say what is wrong with it
