"""Label Studio's JSON export: its tasks, one at a time, and whether they are ours at all."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from urllib.parse import parse_qs, unquote, urlparse

from rangemask.errors import InputError
from rangemask.labels.label_studio.marker import Marker

_CHUNK = 1 << 20
_SPACES = re.compile(r"\s*")
_SCHEMES = frozenset({"http", "https", "s3", "gs", "azure-blob", "redis"})
_SERVER_PATHS = ("/data/local-files/", "/data/upload/", "/tasks/", "/api/")
_MIN_KEYS = frozenset({"annotation_id", "annotator", "annotators"})
LABEL_KEYS = frozenset({"brushlabels", "polygonlabels", "rectanglelabels"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What one person submitted for one frame."""

    id: int | str
    project: str
    """Empty where the export does not tell."""
    by: str
    """E-mail or number of the person; empty where the export does not tell."""
    at: str
    """ISO time; empty where the export does not tell."""
    result: list[Any]
    others: int
    """How many other completed annotations the task has, which are older."""


@dataclass(kw_only=True, slots=True)
class Contents:
    """What an export is about."""

    project: str = ""
    tasks: int = 0
    names: set[str] = field(default_factory=set)


def read_tasks(path: Path) -> Iterator[dict[str, Any]]:
    """The tasks of an export, each read when it is asked for.

    Raises:
        InputError: the file is missing, damaged, or another of Label Studio's formats.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            yield from _elements(path, file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read as an export of Label Studio: {error}."
        ) from error


def check_export(
    path: Path, *, store: str, project: str | None, classes: Collection[str]
) -> Contents:
    """Look through a whole export before anything of it is used.

    Args:
        path: the file.
        store: id of the store that it must be about.
        project: that it must be of; without it any one.
        classes: that regions may have.

    Raises:
        InputError: it is of another project or store, a path leaves its folder, a frame is there
            twice, or a label is none of the classes.
    """
    contents = Contents(project=project or "")
    unknown: set[str] = set()
    for task in read_tasks(path):
        contents.tasks += 1
        try:
            _check_task(task, store, contents)
            annotation = newest(task)
        except InputError as error:
            number = task.get("id", f"number {contents.tasks}")
            raise InputError(f"{path}: task {number}: {error}") from error
        for item in () if annotation is None else annotation.result:
            unknown |= set(labels_of(item)) - set(classes)
    if unknown:
        raise InputError(
            f"{path}: labels that are none of the store's classes: {', '.join(sorted(unknown))}. "
            f"It has {', '.join(classes)}. Rename them in Label Studio and export again."
        )
    return contents


def newest(task: Mapping[str, Any]) -> Annotation | None:
    """The completed annotation that was changed last; None where there is none.

    Raises:
        InputError: an annotation has another form than Label Studio's.
    """
    done = [one for one in _list_of(task, "annotations") if not one.get("was_cancelled")]
    if not done:
        return None
    done.sort(key=lambda one: (when(_time(one)), str(one.get("id", "")).rjust(20)))
    last = done[-1]
    by = last.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    result = last.get("result")
    if not isinstance(result, list):
        raise InputError(f"annotation {last.get('id')} has no list of results.")
    return Annotation(
        id=last.get("id", ""),
        project=str(task.get("project", "")),
        by="" if by is None else str(by),
        at=_time(last),
        result=result,
        others=len(done) - 1,
    )


def labels_of(item: Any) -> list[str]:
    """The labels of a region; none for what is no region."""
    value = item.get("value") if isinstance(item, dict) else None
    if not isinstance(value, dict):
        return []
    found = value.get(str(item.get("type")), []) if item.get("type") in LABEL_KEYS else []
    return [str(label) for label in found] if isinstance(found, list) else []


def when(time: str) -> datetime:
    """An ISO time; the beginning of times for what is none."""
    try:
        found = datetime.fromisoformat(time)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def check_path(text: str) -> None:
    """Refuse an address that leads out of its folder, or to a file of this machine.

    Raises:
        InputError: it does.
    """
    plain = unquote(unquote(text))
    url = urlparse(plain)
    local = url.path.startswith("/data/local-files")
    places = [url.path, *(parse_qs(url.query).get("d", []) if local else [])]
    climbs = any(".." in PurePosixPath(place.replace("\\", "/")).parts for place in places)
    absolute = (
        (url.scheme and url.scheme not in _SCHEMES)
        or (not url.scheme and url.path.startswith("/") and not plain.startswith(_SERVER_PATHS))
        or any(place.startswith(("/", "\\")) or ":" in place for place in places[1:])
        or (not url.scheme and url.path.startswith("\\"))
    )
    if climbs or absolute:
        raise InputError(
            f"the path {text!r} leads out of the folder of the images. rangemask wrote no such "
            "path; this export is not imported."
        )


def _check_task(task: Mapping[str, Any], store: str, contents: Contents) -> None:
    if "data" not in task and _MIN_KEYS & set(task):
        raise InputError(
            "this is Label Studio's JSON-MIN, which has no ids of regions. Export as JSON."
        )
    data = task.get("data")
    if not isinstance(data, dict) or "annotations" not in task:
        raise InputError('expected a task with "data" and "annotations": export as JSON.')
    found = str(task.get("project", ""))
    contents.project = contents.project or found
    if found != contents.project:
        raise InputError(
            f"it is of project {found or '(none)'}, expected {contents.project}. An import is of "
            "one project."
        )
    for text in (data.get("image"), task.get("file_upload")):
        if isinstance(text, str):
            check_path(text)
    marker = Marker.from_task(task)
    if "/" in marker.frame or "\\" in marker.frame or marker.frame in {"", ".", ".."}:
        raise InputError(
            f"{marker.frame!r} is a path, not the name of a frame. It is not followed."
        )
    if marker.store != store:
        raise InputError(
            "it is of other labels: the export of another project, or of another label store."
        )
    if marker.frame in contents.names:
        raise InputError(f"frame {marker.frame} is there twice. Delete one of its tasks.")
    contents.names.add(marker.frame)


def _elements(path: Path, file: TextIO) -> Iterator[dict[str, Any]]:
    """Elements of the outer list. More is read, twice as much each time, until one is whole."""
    decoder = json.JSONDecoder()
    text = file.read(_CHUNK).lstrip()
    if not text.startswith("["):
        raise InputError(
            f"{path}: not a list of tasks. Export from Label Studio as JSON (not JSON-MIN, COCO or "
            "CSV)."
        )
    at, wanted = 1, ""
    while True:
        start = _after_spaces(text, at)
        if text[start : start + 1] == "]":
            return
        if wanted and text[start : start + 1] not in {wanted, ""}:
            raise InputError(f"{path}: damaged: expected a comma between two tasks.")
        try:
            task, end = decoder.raw_decode(text, _after_spaces(text, start + len(wanted)))
        except json.JSONDecodeError as error:
            more = file.read(max(_CHUNK, len(text) - at))
            if not more:
                raise InputError(
                    f"{path}: the file is cut off, or is not JSON ({error})."
                ) from error
            text, at = text[at:] + more, 0
            continue
        except RecursionError as error:
            raise InputError(f"{path}: not an export of Label Studio: nested too deep.") from error
        if not isinstance(task, dict):
            raise InputError(f"{path}: expected a list of tasks, found a {type(task).__name__}.")
        at, wanted = end, ","
        yield task


def _after_spaces(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()


def _list_of(values: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = values.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f'its "{key}" are no list of objects: export as JSON.')
    return found


def _time(annotation: Mapping[str, Any]) -> str:
    return str(annotation.get("updated_at") or annotation.get("created_at") or "")
