"""``rangemask doctor``: what this machine can run."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from importlib import metadata
from typing import Annotated, Any

import typer

from rangemask.cli.options import AsJson

OFFLINE_PACKAGES = ("numpy", "scipy", "opencv-python-headless", "scikit-image", "pillow")
LEARNING_PACKAGES = ("torch", "torchvision", "timm", "transformers", "lightning")

TRAINING = (
    "Heads on a frozen published backbone learn from your labels: rangemask train workflow.",
    "Do not adapt the backbone itself (rangemask train backbone) to usual colour pictures, with "
    "fewer than 10 000 of them or 10 recordings, or without held-out recordings to guard with: it "
    "harms its features. docs/backbone-adaptation.md says when it may pay.",
)


def doctor(
    fast: Annotated[
        bool, typer.Option("--fast", help="Do not load torch; devices stay unknown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what this machine can run: versions, memory, devices, models, weights present."""
    from rangemask.cli.console import print_json

    findings = examine(fast=fast)
    if as_json:
        print_json(findings)
    else:
        _print(findings)


def examine(*, fast: bool) -> dict[str, Any]:
    """Everything that ``doctor`` says, as plain values.

    Args:
        fast: leave torch alone, which takes seconds to load.
    """
    from rangemask import __version__
    from rangemask.backends.registry import names

    return {
        "rangemask": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "packages": {name: _version(name) for name in (*OFFLINE_PACKAGES, *LEARNING_PACKAGES)},
        "devices": None if fast else devices(),
        "models": {
            "stereo": list(names("stereo")),
            "depth": list(names("depth")),
            "masks": list(names("masks")),
        },
        "weights": weights_present(),
        "advice": _advice(fast=fast),
        "training": TRAINING,
    }


def weights_present() -> list[dict[str, Any]]:
    """Published weights in the hub's cache on this machine; nothing is fetched.

    Returns:
        per model its name, file, size in MB and licence, in the order of their table; an empty
        list where the hub's library is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        return []
    from rangemask.models.published import PUBLISHED, cached

    found = []
    for name, entry in PUBLISHED.items():
        path = cached(name)
        if path is not None:
            size_mb = round(path.stat().st_size / 1e6)
            about = {"file": str(path), "size_mb": size_mb, "licence": entry.licence}
            found.append({"name": name, **about})
    return found


def memory_gib() -> float | None:
    """Main memory in GiB, or None where the system does not tell."""
    if sys.platform == "win32":
        return _windows_memory_gib()
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    return round(size / 2**30, 1)


def devices() -> list[dict[str, Any]]:
    """What torch can compute on; an empty list where torch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    found: list[dict[str, Any]] = [
        {"device": "cpu", "name": platform.processor() or platform.machine(), "memory_gib": None}
    ]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        memory = round(card.total_memory / 2**30, 1)
        found.append({"device": f"cuda:{index}", "name": card.name, "memory_gib": memory})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory_gib": None})
    return found


def _windows_memory_gib() -> float | None:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total", ctypes.c_ulonglong),
            ("rest", ctypes.c_ulonglong * 6),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel: Any = getattr(ctypes, "windll").kernel32  # noqa: B009  # only there on Windows
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    total: int = status.total
    return round(total / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _advice(*, fast: bool) -> list[str]:
    advice = [
        f"{name} is missing: pip install --force-reinstall rangemask"
        for name in (*OFFLINE_PACKAGES, *LEARNING_PACKAGES)
        if _version(name) is None
    ]
    others = [name for name in ("opencv-python", "opencv-contrib-python") if _version(name)]
    if others:
        advice.append(
            f"{others[0]} is installed beside opencv-python-headless and overwrites its files: "
            f"pip uninstall {others[0]}, then pip install --force-reinstall opencv-python-headless"
        )
    if fast:
        advice.append("devices were not looked at; run doctor without --fast for them")
    return advice


def _print(findings: dict[str, Any]) -> None:
    from rich.table import Table

    from rangemask.cli.console import print_rich

    table = Table(title=f"rangemask {findings['rangemask']}", show_header=False, title_style="bold")
    table.add_row("Python", f"{findings['python']} on {findings['platform']}")
    memory = "unknown" if findings["memory_gib"] is None else f"{findings['memory_gib']} GiB"
    table.add_row("Cores, memory", f"{findings['processor_cores']}, {memory}")
    for device in findings["devices"] or []:
        size = "" if device["memory_gib"] is None else f", {device['memory_gib']} GiB"
        table.add_row(f"Device {device['device']}", f"{device['name']}{size}")
    table.add_section()
    for name, version in findings["packages"].items():
        table.add_row(name, version or "[red]missing[/red]")
    table.add_section()
    for role, models in findings["models"].items():
        table.add_row(f"{role} models", ", ".join(models))
    table.add_section()
    for weights in findings["weights"]:
        about = f"{weights['size_mb']} MB, {weights['licence']}"
        table.add_row(f"Weights {weights['name']}", about)
    if not findings["weights"]:
        table.add_row("Weights", "none downloaded yet")
    lines = (*findings["advice"], *findings["training"])
    print_rich(table, *(f"- {line}" for line in lines))
