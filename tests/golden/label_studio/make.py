"""Make ``brush.json``: masks and what the converter of Label Studio's SDK makes of them.

The SDK pins another OpenCV than rangemask needs, so it has an environment of its own:

    python -m venv sdk && sdk/bin/pip install label-studio-sdk==2.1.2
    sdk/bin/python tests/golden/label_studio/make.py

Masks are packed bits, streams bytes; both compressed by zlib and written in base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
from label_studio_sdk.converter.brush import decode_rle, encode_rle, mask2rle


def shapes() -> dict[str, np.ndarray]:
    """Masks by name, (H, W) bool."""
    random = np.random.default_rng(4)
    rows, columns = np.mgrid[:90, :161]
    disc = (rows - 40) ** 2 + (columns - 70) ** 2 < 35**2
    ring = disc & ((rows - 42) ** 2 + (columns - 66) ** 2 > 14**2)
    table = np.zeros((97, 203), dtype=bool)
    table[30:40, 10:190] = table[40:95, 20:27] = table[40:95, 170:177] = True
    corner = np.zeros((5, 13), dtype=bool)
    corner[4, 12] = True
    return {
        "nothing of one pixel": np.zeros((1, 1), dtype=bool),
        "one pixel": np.ones((1, 1), dtype=bool),
        "nothing": np.zeros((48, 64), dtype=bool),
        "everything": np.ones((48, 64), dtype=bool),
        "last pixel": corner,
        "first column": np.arange(63)[None].repeat(31, 0) == 0,
        "checker board": (rows + columns)[:9, :11] % 2 == 0,
        "random": random.random((37, 53)) < 0.5,
        "sparse": random.random((40, 67)) < 0.02,
        "disc": disc,
        "ring": ring,
        "table": table,
        "runs beyond 2^16": np.arange(300)[:, None].repeat(200, 1) >= 150,
        "a run of 2^16": np.arange(2 * 128)[:, None].repeat(128, 1) >= 128,
        "a run of 2^16 and one pixel": np.arange(3 * 16385).reshape(3, 16385) >= 16385,
    }


def streams() -> dict[str, np.ndarray]:
    """Values as an editor with soft edges leaves them, by name; (N,) uint8."""
    random = np.random.default_rng(5)
    soft = np.clip(np.hypot(*np.mgrid[-12:12, -20:20]) * -40 + 500, 0, 255).astype(np.uint8)
    lengths = np.array([1, 2, 8, 9, 16, 17, 256, 257, 65535, 65536, 65537, 131072, 131073, 1])
    return {
        "soft disc of 24 x 40": np.repeat(soft.ravel(), 4),
        "bytes": random.integers(0, 256, 1000).astype(np.uint8),
        "all lengths": np.repeat(np.arange(lengths.size) * 17 % 256, lengths).astype(np.uint8),
    }


def packed(values: np.ndarray) -> str:
    """Bytes as short text."""
    return base64.b64encode(zlib.compress(values.astype(np.uint8).tobytes(), 9)).decode()


def main() -> None:
    """Write the file beside this one."""
    masks = []
    for name, mask in shapes().items():
        rle = mask2rle(mask.astype(np.uint8) * 255)
        assert (decode_rle(rle).reshape(*mask.shape, 4)[..., 3] > 0).tolist() == mask.tolist()
        masks.append(
            {
                "name": name,
                "height": mask.shape[0],
                "width": mask.shape[1],
                "mask": packed(np.packbits(mask)),
                "rle": packed(np.array(rle)),
            }
        )
    values = [
        {"name": name, "values": packed(one), "rle": packed(np.array(encode_rle(one)))}
        for name, one in streams().items()
    ]
    made = {"label_studio_sdk": version("label-studio-sdk"), "masks": masks, "streams": values}
    target = Path(__file__).with_name("brush.json")
    target.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
