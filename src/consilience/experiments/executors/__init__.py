"""Executors: where the blocks of a sweep run. What they give does not depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments.executors.pool import Chunk, Failed, Finished, Held, Job, Pool, Stopped
from consilience.experiments.executors.processors import most_blocks
from consilience.experiments.executors.schedule import (
    Collector,
    LostWorkerWarning,
    WorkerLost,
    most_side_by_side,
    run_blocks,
)

EXECUTORS = ("local", "processes", "ray")


@dataclass(frozen=True)
class Local:
    """Blocks on threads of this process. XLA computes without holding Python's lock, so they run side by side.

    Attributes:
        num_threads: blocks side by side; by default as many as there are processors, and memory for; one at a time on
            a GPU or TPU. Results do not depend on it.
    """

    num_threads: int | None = None

    def __post_init__(self) -> None:
        _check_count("Local", "num_threads", self.num_threads)

    def side_by_side(self, num_bytes: int) -> int:
        """How many blocks of that size run at a time."""
        import jax

        if jax.process_count() > 1:
            return 1  # processes that share populations out run the same blocks in the same order
        return self.num_threads or most_blocks(num_bytes)

    def open(self, job: Job, most: int) -> Pool:
        """A pool for at most `most` blocks side by side."""
        from consilience.experiments.executors.local import Inline, Threads

        size = min(most, self.side_by_side(job.num_bytes))
        return Inline(job) if size <= 1 else Threads(job, size)


@dataclass(frozen=True)
class Processes:
    """Blocks in processes of this machine. A block whose process dies is computed again, from its last checkpoint.

    Attributes:
        num_workers: processes; by default as many as there are processors for their threads, and memory for.
        threads_per_worker: of XLA and BLAS. Bits are equal for equal numbers of threads.
    """

    num_workers: int | None = None
    threads_per_worker: int = 1

    def __post_init__(self) -> None:
        _check_count("Processes", "num_workers", self.num_workers)
        _check_count("Processes", "threads_per_worker", self.threads_per_worker)

    def side_by_side(self, num_bytes: int) -> int:
        """How many blocks of that size run at a time."""
        return self.num_workers or most_blocks(num_bytes, num_threads=self.threads_per_worker)

    def open(self, job: Job, most: int) -> Pool:
        """A pool for at most `most` blocks side by side."""
        from consilience.experiments.executors.processes import Workers

        return Workers(job, min(most, self.side_by_side(job.num_bytes)), self.threads_per_worker)


@dataclass(frozen=True)
class Ray:
    """Blocks as tasks of a Ray cluster. A block whose worker dies is computed again, from its last checkpoint.

    A session of Ray that this process has begun is used; otherwise one begins and ends with the sweep.

    Attributes:
        address: of a running cluster, "auto" for the one on this machine; by default a private one is started, which
            listens on 127.0.0.1 only.
        threads_per_worker: of XLA and BLAS, and the processors that a task asks for.
        num_workers: most tasks at a time; as many as the cluster has processors for by default.
    """

    address: str | None = None
    threads_per_worker: int = 1
    num_workers: int | None = None

    def __post_init__(self) -> None:
        _check_count("Ray", "num_workers", self.num_workers)
        _check_count("Ray", "threads_per_worker", self.threads_per_worker)

    def side_by_side(self, num_bytes: int) -> int:
        """How many blocks run at a time, if the cluster is this machine."""
        return self.num_workers or most_blocks(num_bytes, num_threads=self.threads_per_worker)

    def open(self, job: Job, most: int) -> Pool:
        """A pool for at most `most` blocks side by side."""
        from consilience.experiments.executors.ray import Tasks

        return Tasks(job, most, self.address, self.threads_per_worker, self.num_workers)


Executor = Local | Processes | Ray


def make_executor(name: str, *, num_workers: int | None = None, address: str | None = None) -> Executor:
    """The executor of that name.

    Args:
        name: "local", "processes" or "ray".
        num_workers: blocks side by side.
        address: of a Ray cluster.

    Raises:
        UnknownName: for another name.
        InvalidSpec: for an address of anything but Ray.

    Example:
        >>> make_executor("processes", num_workers=4)
        Processes(num_workers=4, threads_per_worker=1)
    """
    if name not in EXECUTORS:
        raise UnknownName.among("executor", name, EXECUTORS)
    if address is not None and name != "ray":
        raise InvalidSpec(
            f"address={address!r} names a Ray cluster, but the executor is {name!r}, which runs on this machine. "
            "Choose executor 'ray', or leave the address out."
        )
    if name == "local":
        return Local(num_workers)
    return Processes(num_workers) if name == "processes" else Ray(address, num_workers=num_workers)


def _check_count(executor: str, name: str, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidSpec(
            f"{executor}({name}={value!r}): this is counted in whole numbers from 1. Write {name}=2, say."
        )


__all__ = [
    "EXECUTORS",
    "Chunk",
    "Collector",
    "Executor",
    "Failed",
    "Finished",
    "Held",
    "Job",
    "Local",
    "LostWorkerWarning",
    "Pool",
    "Processes",
    "Ray",
    "Stopped",
    "WorkerLost",
    "make_executor",
    "most_side_by_side",
    "run_blocks",
]
