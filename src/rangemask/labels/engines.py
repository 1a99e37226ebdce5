"""Where the workers of a run live: in this process, or as actors of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Literal, Protocol, TypeAlias, get_args

from rangemask.errors import InputError
from rangemask.labels.work import Job, Outcome, Plan, Task, Worker

Engine: TypeAlias = Literal["local", "ray"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


class Runner(Protocol):
    """Workers that are ready."""

    @property
    def plan(self) -> Plan:
        """What they will make."""
        ...

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Do all tasks; outcomes come as they are done, one per task."""
        ...


class LocalRunner:
    """One worker in this process.

    Args:
        job: what it is to do.
    """

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)

    @property
    def plan(self) -> Plan:
        """What it will make."""
        return self._worker.plan

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Do all tasks that nobody else is doing, then wait for those."""
        busy = []
        for task, following in zip_longest(tasks, tasks[1:]):
            if following is not None:
                self._worker.read_ahead(following)
            outcome = self._worker(task)
            if outcome.what == "busy":
                busy.append(task)
            else:
                yield outcome
        for task in busy:
            # Mostly it is done by now; whose process was killed, its frame is done here.
            yield self._worker(task, wait=True)


@contextmanager
def open_engine(
    engine: Engine, job: Job, workers: int | None = None, ray_address: str | None = None
) -> Iterator[Runner]:
    """Workers, for as long as the block lasts.

    Args:
        engine: local or ray.
        job: what they are to do.
        workers: how many; only for ray.
        ray_address: of a running cluster.

    Raises:
        InputError: a teacher cannot be loaded, ray is not installed or its cluster not there.
    """
    if engine == "local":
        yield LocalRunner(job)
        return
    try:
        # Imported here: ray is an extra, and takes a second.
        from rangemask.labels.ray_engine import open_ray
    except ImportError as error:
        raise InputError(
            "the ray engine needs the package ray, which is not installed: "
            "pip install 'rangemask[ray]'."
        ) from error
    with open_ray(job, workers, ray_address) as runner:
        yield runner
