"""A student that is exported once, for all tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from rangemask.export import ExportReport, StereoExportOptions, export_stereo
from support.students import saved_student

HEIGHT, WIDTH = 84, 112


class Exported(NamedTuple):
    """A student, and what came of its export."""

    student: Path
    report: ExportReport


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Several tests run beside each other, and the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Exported:
    """A student with a stereo head, and its export at 84 x 112."""
    folder = tmp_path_factory.mktemp("exported")
    student = saved_student(folder / "student", ("stereo",))
    options = StereoExportOptions(height=HEIGHT, width=WIDTH)
    report = export_stereo(f"student:{student}", folder / "out" / "net.onnx", options)
    return Exported(student, report)
