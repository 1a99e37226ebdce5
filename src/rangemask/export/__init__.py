"""Networks as files that other runtimes take, each with a parity check and what it needs to run."""

from rangemask.export.errors import ExportError
from rangemask.export.parity import Parity
from rangemask.export.stereo import ExportReport, StereoExportOptions, export_stereo

__all__ = ["ExportError", "ExportReport", "Parity", "StereoExportOptions", "export_stereo"]
