"""Two synthetic frames with their truth, written in the layouts of published data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image
from skimage.measure import find_contours

from rangemask.data.map_files import write_map
from rangemask.data.readers import encode_fsd, encode_panoptic
from rangemask.data.synthetic import CLASS_NAMES, random_scene, render
from rangemask.geometry import Rig
from rangemask.structures import MaskSet, SemanticMap, StereoFrame
from rangemask.structures.images import write_image

RIG = Rig.rectified(fx=80.0, cx=47.5, cy=31.5, baseline_m=0.25, width=96, height=64)
COUNT = 2
PALETTE = [0, 0, 0, 200, 40, 40, 40, 200, 40, 40, 40, 200, 99, 99, 99] + [7] * 3 * 251


@dataclass(frozen=True)
class Truth:
    frame: StereoFrame
    disparity: np.ndarray
    depth_m: np.ndarray
    visible: np.ndarray
    ids: np.ndarray
    masks: MaskSet
    semantic: SemanticMap


def truths() -> list[Truth]:
    """Frames whose objects are all in one piece, each with a hole-free outline."""
    found = []
    for seed in (3, 5):
        sample = render(random_scene(seed, kind="table", n_objects=3), RIG, seed=seed)
        dense = sample.masks()
        seen = [i for i in range(len(dense)) if dense[i].any()]
        ids = np.zeros(dense.shape[1:], dtype=np.uint8)
        for number, i in enumerate(seen, start=1):
            ids[dense[i]] = number
        labels = [sample.objects[i].name for i in seen]
        assert sample.disparity is not None
        assert sample.occluded is not None
        known = np.isfinite(sample.disparity)
        found.append(
            Truth(
                frame=sample.frame,
                disparity=sample.disparity,
                depth_m=sample.depth_m,
                visible=known & ~sample.occluded,
                ids=ids,
                masks=MaskSet.from_dense(dense[seen], labels=labels),
                semantic=sample.semantic,
            )
        )
    return found


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, values)
    return path


def save_json(path: Path, data: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def save_palette(path: Path, ids: np.ndarray) -> Path:
    image = Image.fromarray(ids)
    image.putpalette(PALETTE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def save_map(path: Path, values: np.ndarray) -> Path:
    write_map(path, values)
    return path


def save_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def pair(truth: Truth, left: Path, right: Path) -> None:
    assert truth.frame.right is not None
    save(left, truth.frame.left)
    save(right, truth.frame.right)


def kitti_2015(root: Path, data: list[Truth]) -> None:
    training = root / "training"
    for i, truth in enumerate(data):
        name = f"{i:06d}_10.png"
        pair(truth, training / "image_2" / name, training / "image_3" / name)
        save(training / "image_2" / f"{i:06d}_11.png", truth.frame.left)
        save_map(training / "disp_occ_0" / name, truth.disparity)
        save_map(training / "disp_noc_0" / name, np.where(truth.visible, truth.disparity, np.nan))
        (training / "calib_cam_to_cam").mkdir(exist_ok=True)
        RIG.save(training / "calib_cam_to_cam" / f"{i:06d}.txt", format="kitti")


def kitti_2012(root: Path, data: list[Truth]) -> None:
    """Grey cameras, with the colour cameras' matrices in the same file as a trap."""
    training = root / "training"
    lines = [
        "P0: 80 0 47.5 0 0 80 31.5 0 0 0 1 0",
        "P1: 80 0 47.5 -20 0 80 31.5 0 0 0 1 0",
        "P2: 80 0 47.5 4 0 80 31.5 0 0 0 1 0",
        "P3: 80 0 47.5 -17 0 80 31.5 0 0 0 1 0",
    ]
    for i, truth in enumerate(data):
        name = f"{i:06d}_10.png"
        pair(truth, training / "image_0" / name, training / "image_1" / name)
        save_map(training / "disp_occ" / name, truth.disparity)
        save_map(training / "disp_noc" / name, np.where(truth.visible, truth.disparity, np.nan))
        save_text(training / "calib" / f"{i:06d}.txt", "\n".join(lines))


def kitti_raw(root: Path, data: list[Truth], drive: str = "2011_09_26_drive_0002") -> None:
    """Frames 0 and 3 of a drive; depth is tested by itself."""
    day = root / drive[:10]
    cameras = [day / f"{drive}_sync/image_{camera}/data" for camera in ("02", "03")]
    for number, truth in zip((0, 3), data, strict=True):
        name = f"{number:010d}.png"
        pair(truth, cameras[0] / name, cameras[1] / name)
    RIG.save(day / "calib_cam_to_cam.txt", format="kitti")


def kitti_raw_to_learn(root: Path, data: list[Truth]) -> None:
    kitti_raw(root, data, "2011_09_26_drive_0001")


def _scene(scene: Path, truth: Truth, disparity: str) -> None:
    pair(truth, scene / "im0.png", scene / "im1.png")
    save(scene / "im1E.png", truth.frame.left)
    save_map(scene / disparity, truth.disparity)
    marks = np.where(truth.visible, 255, np.where(np.isfinite(truth.disparity), 128, 0))
    save(scene / "mask0nocc.png", marks.astype(np.uint8))
    RIG.save(scene / "calib.txt")


def middlebury(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        _scene(root / f"Scene{i}", truth, "disp0.pfm")


def eth3d(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        _scene(root / "two_view_training" / f"scene_{i}", truth, "disp0GT.pfm")
        for name in ("disp0GT.pfm", "mask0nocc.png"):
            target = root / "two_view_training_gt" / f"scene_{i}" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (root / "two_view_training" / f"scene_{i}" / name).rename(target)


def _sceneflow(root: Path, data: list[Truth], scene: str, suffix: str = ".png") -> None:
    for i, truth in enumerate(data):
        for images in ("frames_cleanpass", "frames_finalpass"):
            folder = root / images / scene
            name = f"{i:04d}{suffix}"
            pair(truth, folder / "left" / name, folder / "right" / name)
        for side in ("left", "right"):
            save_map(root / "disparity" / scene / side / f"{i:04d}.pfm", truth.disparity)


def flying_things(root: Path, data: list[Truth]) -> None:
    _sceneflow(root, data, "TRAIN/A/0000")


def monkaa(root: Path, data: list[Truth]) -> None:
    _sceneflow(root / "Monkaa", data, "a_rain_of_stones_x2")


def driving(root: Path, data: list[Truth]) -> None:
    _sceneflow(root, data, "15mm_focallength/scene_forwards/fast")


def fsd(root: Path, data: list[Truth]) -> None:
    scene = root / "warehouse" / "dataset" / "data"
    for i, truth in enumerate(data):
        name = f"{i:04d}.png"
        pair(truth, scene / "left/rgb" / name, scene / "right/rgb" / name)
        save(scene / "left/disparity" / name, encode_fsd(truth.disparity))


def crestereo(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        folder = root / "tree"
        pair(truth, folder / f"{i}_left.png", folder / f"{i}_right.png")
        steps = np.rint(np.nan_to_num(truth.disparity) * 32).astype(np.uint16)
        save(folder / f"{i}_left.disp.png", steps)


def tao(root: Path, data: list[Truth]) -> None:
    lines = ["# left right disparity mask", ""]
    for i, truth in enumerate(data):
        names = [f"{folder}/{i}.png" for folder in ("l", "r", "d", "nocc")]
        pair(truth, root / names[0], root / names[1])
        save(root / names[2], encode_fsd(truth.disparity))
        save(root / names[3], truth.visible.astype(np.uint8) * 255)
        lines.append(" ".join(names))
    save_text(root / "list.txt", "\n".join(lines))


def _rows(truth: Truth) -> list[dict[str, object]]:
    return [
        {
            "id": i,
            "segmentation": rle.to_coco(),
            "predicted_iou": 1.0 + 0.01 * i,
            "stability_score": 0.97,
        }
        for i, rle in enumerate(truth.masks.rles)
    ]


def sa_1b(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        save(root / "sa_000000" / f"sa_{i}.png", truth.frame.left)
        about = {"image_id": i, "width": 96, "height": 64, "file_name": f"sa_{i}.jpg"}
        save_json(
            root / "sa_000000" / f"sa_{i}.json", {"image": about, "annotations": _rows(truth)}
        )


def sa_v(root: Path, data: list[Truth]) -> None:
    empty = {"size": [64, 96], "counts": MaskSet.from_dense(np.zeros((1, 64, 96), bool)).rles[0]}
    empty["counts"] = empty["counts"].counts  # type: ignore[union-attr]
    rows = [[empty, *(rle.to_coco() for rle in truth.masks.rles)] for truth in data]
    save_json(root / "sav_000001_manual.json", {"video_id": "sav_000001", "masklet": rows})
    for number in range(4 * len(data)):
        save(root / "sav_000001" / f"{number:05d}.png", data[number // 4].frame.left)


def sa_v_validation(root: Path, data: list[Truth]) -> None:
    for number in range(4 * len(data)):
        image = root / "JPEGImages_24fps" / "sav_000002" / f"{number:05d}.png"
        save(image, data[number // 4].frame.left)
    for i, truth in enumerate(data):
        for j, mask in enumerate(truth.masks):
            file = root / "Annotations_6fps" / "sav_000002" / f"{j:03d}" / f"{4 * i:05d}.png"
            save(file, mask.astype(np.uint8) * 255)


def davis(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        save(root / "JPEGImages" / "480p" / "bear" / f"{i:05d}.png", truth.frame.left)
        save_palette(root / "Annotations" / "480p" / "bear" / f"{i:05d}.png", truth.ids)


def voc(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        save(root / "JPEGImages" / f"2007_{i:06d}.png", truth.frame.left)
        save_palette(root / "SegmentationObject" / f"2007_{i:06d}.png", truth.ids)
        classes = np.where(truth.ids > 0, 15, 0).astype(np.uint8)
        save_palette(root / "SegmentationClass" / f"2007_{i:06d}.png", classes)


CATEGORIES = [
    {"id": 7, "name": "floor", "isthing": 0},
    {"id": 20, "name": "wall", "isthing": 0},
    {"id": 90, "name": "object", "isthing": 1},
    {"id": 184, "name": "person", "isthing": 1},
]
_CATEGORY = {str(row["name"]): row["id"] for row in CATEGORIES}


def _images(root: Path, data: list[Truth]) -> list[dict[str, object]]:
    table = []
    for i, truth in enumerate(data):
        save(root / "val2017" / f"{i:012d}.png", truth.frame.left)
        table.append({"id": i, "file_name": f"{i:012d}.png", "height": 64, "width": 96})
    return table


def coco(root: Path, data: list[Truth]) -> None:
    rows = [
        {"id": 100 * i + j, "image_id": i, "segmentation": rle.to_coco(), "iscrowd": 0}
        | {"category_id": _CATEGORY[label]}
        for i, truth in enumerate(data)
        for j, (rle, label) in enumerate(zip(truth.masks.rles, truth.masks.labels, strict=True))
    ]
    tables = {"images": _images(root, data), "categories": CATEGORIES, "annotations": rows}
    save_json(root / "annotations" / "instances_val2017.json", tables)


def coco_panoptic(root: Path, data: list[Truth]) -> None:
    """Ids above 255, so that all three colours matter."""
    rows = []
    for i, truth in enumerate(data):
        ids = truth.ids.astype(np.uint32) * 70_001
        segments = [
            {"id": 70_001 * j, "category_id": _CATEGORY[label], "iscrowd": 0}
            for j, label in enumerate(truth.masks.labels, start=1)
        ]
        for index, name in enumerate(("floor", "wall"), start=1):
            ids[(truth.semantic.ids == index) & (ids == 0)] = index
            if (ids == index).any():
                segments.append({"id": index, "category_id": _CATEGORY[name], "iscrowd": 0})
        name = f"{i:012d}.png"
        save(root / "annotations" / "panoptic_val2017" / name, encode_panoptic(ids))
        rows.append({"image_id": i, "file_name": name, "segments_info": segments})
    tables = {"images": _images(root, data), "categories": CATEGORIES, "annotations": rows}
    save_json(root / "annotations" / "panoptic_val2017.json", tables)


def outline(mask: np.ndarray) -> np.ndarray:
    """The longest contour, (N, 2) x and y in px from the image's corner."""
    contours = find_contours(np.pad(mask, 1).astype(np.float64), 0.5)
    longest = max(contours, key=len)
    return longest[:, ::-1] - 1 + 0.5


def yolo(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        save(root / "images" / "train" / f"{i}.png", truth.frame.left)
        lines = []
        for mask, label in zip(truth.masks, truth.masks.labels, strict=True):
            shares = np.clip(outline(mask) / (96, 64), 0, 1).ravel()
            lines.append(" ".join([str(CLASS_NAMES.index(label)), *map(str, shares)]))
        save_text(root / "labels" / "train" / f"{i}.txt", "\n".join(lines))
    config = {"path": ".", "train": "images/train", "names": dict(enumerate(CLASS_NAMES))}
    save_text(root / "data.yaml", yaml.safe_dump(config))


def folders(root: Path, data: list[Truth]) -> None:
    segments = {}
    for i, truth in enumerate(data):
        pair(truth, root / "left" / f"{i}.png", root / "right" / f"{i}.png")
        save_map(root / "disparity" / f"{i}.npy", truth.disparity)
        save_map(root / "depth" / f"{i}.npy", truth.depth_m)
        save(root / "masks" / f"{i}.png", truth.ids)
        # Ids with gaps, and 255 where a labeller did not know.
        ids = np.where(truth.semantic.ids > 0, truth.semantic.ids.astype(np.uint16) * 300, 255)
        save(root / "semantic" / f"{i}.png", ids.astype(np.uint16))
        rows = enumerate(truth.masks.labels, start=1)
        segments[str(i)] = [{"id": j, "category": label, "category_id": 0} for j, label in rows]
    classes = {300 * i: name for i, name in enumerate(CLASS_NAMES) if i}
    save_json(root / "labels.json", {"classes": classes, "segments": segments})
    RIG.save(root / "rig.yaml")


def depth_folders(root: Path, data: list[Truth]) -> None:
    """Ultralytics' layout for monocular depth."""
    for i, truth in enumerate(data):
        save(root / "images" / "train" / f"{i}.png", truth.frame.left)
        save_map(root / "depth" / "train" / f"{i}.npy", truth.depth_m)


def frames(root: Path, data: list[Truth]) -> None:
    for i, truth in enumerate(data):
        pair(truth, root / f"{i}_left.png", root / f"{i}_right.png")
    RIG.save(root / "calib.txt")


Writer = Callable[[Path, list[Truth]], None]
