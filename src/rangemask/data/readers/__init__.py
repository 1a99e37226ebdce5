"""Readers of existing data sets and label files; all give the same samples (docs/datasets.md)."""

from rangemask.data.readers.coco import (
    decode_panoptic,
    encode_panoptic,
    open_coco,
    open_coco_panoptic,
)
from rangemask.data.readers.disparity_codes import decode_fsd, encode_fsd
from rangemask.data.readers.folders import open_folders, open_frames
from rangemask.data.readers.fsd import open_fsd
from rangemask.data.readers.kitti import open_kitti
from rangemask.data.readers.kitti_raw import (
    open_kitti_eigen_test,
    open_kitti_eigen_train,
    open_kitti_raw,
)
from rangemask.data.readers.listed import Entry, ListedDataset, listed
from rangemask.data.readers.middlebury import open_middlebury
from rangemask.data.readers.opening import DATASET_KINDS, open_dataset
from rangemask.data.readers.pair_lists import open_crestereo, open_tao_list
from rangemask.data.readers.sceneflow import open_sceneflow
from rangemask.data.readers.segment_anything import open_sa1b, open_sav
from rangemask.data.readers.video_masks import open_video_masks, open_voc
from rangemask.data.readers.yolo import open_yolo

__all__ = [
    "DATASET_KINDS",
    "Entry",
    "ListedDataset",
    "decode_fsd",
    "decode_panoptic",
    "encode_fsd",
    "encode_panoptic",
    "listed",
    "open_coco",
    "open_coco_panoptic",
    "open_crestereo",
    "open_dataset",
    "open_folders",
    "open_frames",
    "open_fsd",
    "open_kitti",
    "open_kitti_eigen_test",
    "open_kitti_eigen_train",
    "open_kitti_raw",
    "open_middlebury",
    "open_sa1b",
    "open_sav",
    "open_sceneflow",
    "open_tao_list",
    "open_video_masks",
    "open_voc",
    "open_yolo",
]
