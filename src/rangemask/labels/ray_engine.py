"""Workers as actors of a Ray cluster; each holds its teachers, and its GPU where there are some.

The machines share the folder of the labels (and see the images under the same paths). Whatever one
of them does is claimed and recorded as by any other worker, so a lost actor loses one frame.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.actor_pool import ActorPool

from rangemask.errors import InputError, RangemaskError
from rangemask.labels.work import Job, Outcome, Plan, Task, Worker

logger = logging.getLogger(__name__)

_CORES_EACH = 2
"""Of a worker without a GPU, where nobody says how many workers there shall be."""


class _Actor:
    """A worker, with as many threads as Ray gave it cores."""

    def __init__(self, job: Job, cores: int) -> None:
        import cv2
        import torch

        cv2.setNumThreads(cores)
        torch.set_num_threads(cores)
        self._worker = Worker(job)

    def plan(self) -> Plan:
        return self._worker.plan

    def label(self, task: Task, wait: bool) -> Outcome:
        return self._worker(task, wait=wait)


class RayRunner:
    """Actors that are ready.

    Args:
        actors: handles of ``_Actor``.

    Raises:
        InputError: their teachers cannot be loaded.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = list(actors)
        with _plainly():
            self._plan: Plan = ray.get([actor.plan.remote() for actor in self._actors])[0]

    @property
    def plan(self) -> Plan:
        """What they will make."""
        return self._plan

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Do all tasks; whoever is free takes the next one."""
        busy = set()
        for outcome in self._map(tasks, wait=False):
            if outcome.what == "busy":
                busy.add(outcome.name)
            else:
                yield outcome
        yield from self._map([task for task in tasks if task.source.name in busy], wait=True)

    def _map(self, tasks: Sequence[Task], *, wait: bool) -> Iterator[Outcome]:
        pool: Any = ActorPool(self._actors)  # its types know lists of nothing only
        with _plainly():
            yield from pool.map_unordered(lambda actor, task: actor.label.remote(task, wait), tasks)


@contextmanager
def open_ray(job: Job, workers: int | None, address: str | None) -> Iterator[RayRunner]:
    """Start actors, on a running cluster or a local one, and end them with the block.

    Args:
        job: what they are to do.
        workers: how many; None for one per GPU, or without GPUs one per two cores.
        address: of a running cluster; None starts a local one.

    Raises:
        InputError: there is no such cluster, or the teachers cannot be loaded.
    """
    # Paths are seen from other processes: they start elsewhere.
    job = replace(job, store=job.store.resolve())
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(
                address=address,
                num_cpus=None if address is not None else _local_cores(workers),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"no Ray cluster answers at {address}: {error}. Start one (ray start --head), or "
                "leave the address out for a local one."
            ) from error
    try:
        yield RayRunner(_start(job, workers))
    finally:
        if started:
            ray.shutdown()


def _start(job: Job, workers: int | None) -> list[Any]:
    have: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    gpus, cores = int(have.get("GPU", 0)), int(have.get("CPU", 1))
    count = workers if workers is not None else gpus or max(1, cores // _CORES_EACH)
    each = max(1, cores // count)
    if count > cores:
        raise InputError(f"{count} workers need a core each; the cluster has {cores}.")
    needs_gpu = gpus > 0 and job.config.device != "cpu"
    actor = ray.remote(num_cpus=each, num_gpus=min(1, gpus / count) if needs_gpu else 0)(_Actor)
    return [actor.remote(job, each) for _ in range(count)]


def _local_cores(workers: int | None) -> int | None:
    """Ray counts the cores that it finds; more workers than that are wanted at one's own risk."""
    cores = os.cpu_count() or 1
    return max(cores, workers) if workers is not None else cores


@contextmanager
def _plainly() -> Iterator[None]:
    """An error that is meant for people arrives as itself, not wrapped in Ray's."""
    try:
        yield
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, RangemaskError):
            raise cause from None
        raise
    except RayActorError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, RangemaskError):
            raise cause from None
        raise InputError(
            f"a worker could not start or was lost ({str(error).splitlines()[-1][:300]}). What was "
            "done is kept; run again to go on."
        ) from error
