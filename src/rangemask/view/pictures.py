"""The pictures that stand beside a saved scene."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rangemask.atomic import atomic_file
from rangemask.errors import OutputError
from rangemask.geometry.arrays import ImageArray
from rangemask.structures import Scene
from rangemask.structures.images import write_image
from rangemask.view.colormap import (
    ColourRange,
    MapName,
    depth_picture,
    disparity_picture,
    relative_picture,
)
from rangemask.view.overlay import Drawn, instances_picture, overlay_picture, semantic_picture

LEFT = "frame/left.png"
CONFIDENCE = "stereo/confidence.png"
DISPARITY = "stereo/disparity.png"
INSTANCES = "segmentation/instances.png"
MASKS = "segmentation/overlay.png"
SEMANTIC = "segmentation/semantic_colour.png"
DISTANCES = "fusion/overlay.png"

_MASKS_FILL = 0.5


def write_pictures(
    scene: Scene,
    folder: str | Path,
    *,
    colour_range: ColourRange | None = None,
    colour_map: MapName = "inferno",
) -> list[Path]:
    """Write the pictures of a scene into its folder, each whole or not at all.

    ``stereo/disparity.png`` (depth, metric or relative, where no pair was matched),
    ``segmentation/instances.png`` and ``overlay.png`` (masks and labels),
    ``segmentation/semantic_colour.png`` where there is a semantic map, and
    ``fusion/overlay.png`` (outlines, labels, distances).

    Args:
        scene: what to draw.
        folder: an existing folder, such as ``Scene.save`` gives.
        colour_range: which disparity or depth gets the first and last colour; the scene's own
            by default. Hand the same one to all frames of a video.
        colour_map: colours of disparity or depth.

    Returns:
        the files that were written.

    Raises:
        OutputError: the folder does not exist, or a file cannot be written.
        ValueError: the range is of another quantity than what is drawn.
    """
    root = Path(folder)
    if not root.is_dir():
        raise OutputError(f"{root}: expected a folder to write pictures into, but there is none.")
    drawn = Drawn.of(scene)
    pictures: dict[str, Callable[[], ImageArray]] = {
        DISTANCES: lambda: overlay_picture(scene, drawn=drawn),
        MASKS: lambda: overlay_picture(scene, caption="label", fill=_MASKS_FILL, drawn=drawn),
        INSTANCES: lambda: instances_picture(scene, drawn=drawn),
    }
    distance = range_picture(scene, colour_range=colour_range, colour_map=colour_map)
    if distance is not None:
        pictures[DISPARITY] = lambda: distance
    semantic = scene.semantic
    if semantic is not None:
        pictures[SEMANTIC] = lambda: semantic_picture(semantic)

    def write(name: str) -> Path:
        image = pictures[name]()
        with atomic_file(root / name) as staging:
            write_image(staging, image)
        return root / name

    # Compressing dominates and lets other threads run.
    with ThreadPoolExecutor(max_workers=4) as pool:
        return sorted(pool.map(write, pictures))


def range_picture(
    scene: Scene,
    *,
    colour_range: ColourRange | None = None,
    colour_map: MapName = "inferno",
) -> ImageArray | None:
    """A scene's disparity, else its depth, else its relative depth, as a colour picture.

    Relative depth has no unit: its scale says so, and a range in px or metres is not for it.

    Returns:
        (H + h, W, 3) uint8 RGB, see ``disparity_picture``; None where there is none of them.

    Raises:
        ValueError: the range is of another quantity than what is drawn.
    """
    if scene.disparity is not None:
        return disparity_picture(
            scene.disparity, scene.rig, colour_range=colour_range, colour_map=colour_map
        )
    if scene.depth is not None:
        return depth_picture(scene.depth, colour_range=colour_range, colour_map=colour_map)
    if scene.relative_depth is not None:
        return relative_picture(scene.relative_depth, colour_map=colour_map)
    return None
