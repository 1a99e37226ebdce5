"""Where published weights live, how large they are, and what may be done with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias

from rangemask.errors import InputError

logger = logging.getLogger(__name__)

Terms: TypeAlias = Literal["commercial-ok", "research-only"]
APACHE = "Apache-2.0"
NON_COMMERCIAL = "CC-BY-NC-4.0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """One file of weights on the Hugging Face hub."""

    repository: str
    file: str
    size_mb: int
    """About; what a download will take."""
    licence: str
    beside: tuple[str, ...] = ()
    """Small files that are fetched too, into the same folder."""

    @property
    def url(self) -> str:
        """For people."""
        return f"https://huggingface.co/{self.repository}"

    @property
    def terms(self) -> Terms:
        """What the licence allows."""
        return "commercial-ok" if self.licence == APACHE else "research-only"


def _backbones() -> Iterator[tuple[str, Published]]:
    for size, size_mb in (("small", 88), ("base", 346), ("large", 1218), ("giant", 4546)):
        for suffix, family in (("", "dinov2"), ("-reg", "dinov2-with-registers")):
            yield (
                f"dinov2-{size}{suffix}",
                Published(
                    repository=f"facebook/{family}-{size}",
                    file="model.safetensors",
                    size_mb=size_mb,
                    licence=APACHE,
                ),
            )


def _depth_anything() -> Iterator[tuple[str, Published]]:
    sizes = (
        ("small", "vits", 99, APACHE),
        ("base", "vitb", 390, NON_COMMERCIAL),
        ("large", "vitl", 1341, NON_COMMERCIAL),
    )
    kinds = (
        ("", "", ""),
        ("-metric-indoor", "Metric-Hypersim-", "metric_hypersim_"),
        ("-metric-outdoor", "Metric-VKITTI-", "metric_vkitti_"),
    )
    for size, vit, size_mb, licence in sizes:
        for suffix, repository, file in kinds:
            yield (
                f"depth-anything-v2-{size}{suffix}",
                Published(
                    repository=f"depth-anything/Depth-Anything-V2-{repository}{size.title()}",
                    file=f"depth_anything_v2_{file}{vit}.pth",
                    size_mb=size_mb,
                    licence=licence,
                ),
            )


def _sam2() -> Iterator[tuple[str, Published]]:
    for size, size_mb in (("tiny", 156), ("small", 184), ("base-plus", 324), ("large", 898)):
        yield (
            f"sam2.1-{size}",
            Published(
                repository=f"facebook/sam2.1-hiera-{size}",
                file=f"sam2.1_hiera_{size.replace('-', '_')}.pt",
                size_mb=size_mb,
                licence=APACHE,
            ),
        )


def _grounding_dino() -> Iterator[tuple[str, Published]]:
    for size, size_mb in (("tiny", 690), ("base", 933)):
        yield (
            f"grounding-dino-{size}",
            Published(
                repository=f"IDEA-Research/grounding-dino-{size}",
                file="model.safetensors",
                size_mb=size_mb,
                licence=APACHE,
                beside=(
                    "config.json",
                    "preprocessor_config.json",
                    "tokenizer.json",
                    "tokenizer_config.json",
                ),
            ),
        )


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    dict((*_backbones(), *_depth_anything(), *_sam2(), *_grounding_dino()))
)
"""By the name that ``load_backbone``, ``load_depth``, ``load_masks`` and ``load_text`` take."""


def fetch(name: str) -> Path:
    """The published weights of a model: from the hub's cache on this machine, or downloaded.

    Args:
        name: a key of ``PUBLISHED``.

    Raises:
        InputError: nothing is published under that name, or the hub cannot be reached.
    """
    if name not in PUBLISHED:
        raise InputError(
            f"no weights are published for {name!r}; give checkpoint=PATH. "
            f"Published: {', '.join(PUBLISHED)}."
        )
    # Imported here, so that the table above costs nothing to read.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    entry = PUBLISHED[name]
    files = f"{entry.file} with {', '.join(entry.beside)}" if entry.beside else entry.file
    try:
        for file in entry.beside:
            hf_hub_download(entry.repository, file, local_files_only=True)
        return Path(hf_hub_download(entry.repository, entry.file, local_files_only=True))
    except LocalEntryNotFoundError:
        logger.warning(
            "%s: downloading %s from %s (%d MB, licence %s)",
            *(name, entry.file, entry.url, entry.size_mb, entry.licence),
        )
    try:
        for file in entry.beside:
            hf_hub_download(entry.repository, file)
        return Path(hf_hub_download(entry.repository, entry.file))
    except Exception as error:  # besides OSError, whatever the transport of the day raises
        raise InputError(
            f"{name}: its weights could not be downloaded from {entry.url} "
            f"({type(error).__name__}: {_first_line(error)}). Download {files} there "
            "yourself and pass it as checkpoint."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def cached(name: str) -> Path | None:
    """The published weights of a model where the hub's cache on this machine has them.

    Args:
        name: a key of ``PUBLISHED``.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(PUBLISHED[name].repository, PUBLISHED[name].file)
    return Path(found) if isinstance(found, str) else None
