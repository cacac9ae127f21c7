"""Blocks as tasks of a Ray cluster."""

from __future__ import annotations

import functools
import logging
import pickle
import time
import uuid
import warnings
from collections.abc import Callable
from typing import Any

from consilience.errors import InvalidSpec
from consilience.experiments.executors.pool import (
    Chunk,
    Failed,
    Finished,
    Held,
    Job,
    Lost,
    Message,
    Stopped,
    attempt,
    portable,
)
from consilience.experiments.executors.processors import num_processors
from consilience.experiments.executors.sending import local_variables, packed, thread_variables
from consilience.experiments.plan import Block

try:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.exceptions  # pyright: ignore[reportMissingImports]
except ImportError:
    ray: Any = None

_SECONDS_BETWEEN_LETTERS = 0.5
_GRACE_SECONDS = 30.0


class _Mailbox:
    """An actor: what workers tell about chunks, and whether they are to stop. Nothing is lost if it starts again."""

    def __init__(self) -> None:
        self.chunks: dict[int, Chunk] = {}
        self.stopping = False

    def put(self, chunk: Chunk) -> bool:
        self.chunks[chunk.block] = chunk
        return self.stopping

    def take(self) -> list[Chunk]:
        taken, self.chunks = list(self.chunks.values()), {}
        return taken

    def stop(self) -> None:
        self.stopping = True


@functools.lru_cache(maxsize=1)
def _job(token: str, payload: Any) -> Job:
    """The job, unpacked once in each worker process: it keeps compiled programs from block to block."""
    return pickle.loads(ray.get(payload))


def _work(token: str, boxed: list[Any], block: Block, initial_params: Any, mailbox: Any) -> bytes:
    """A task. The payload comes in a list, so that Ray does not fetch it for every block.

    Returns:
        The message, pickled: arrays that Ray hands over itself live in its memory, which ends with the session.
    """
    return pickle.dumps(_message(token, boxed[0], block, initial_params, mailbox))


def _message(token: str, payload: Any, block: Block, initial_params: Any, mailbox: Any) -> Finished | Held | Failed:
    told_at, is_stopped = time.monotonic(), False

    def on_chunk(chunk: Chunk) -> bool:
        nonlocal told_at, is_stopped
        if not is_stopped and time.monotonic() - told_at >= _SECONDS_BETWEEN_LETTERS:
            told_at = time.monotonic()
            try:
                is_stopped = bool(ray.get(mailbox.put.remote(chunk)))
            except ray.exceptions.RayError:
                is_stopped = True  # the sweep is gone
        return is_stopped

    try:
        job = _job(token, payload)
    except Exception as error:
        return Failed(None, portable(error))
    try:
        return attempt(job, block, initial_params, on_chunk)
    except Stopped:
        return Held(block.index)


class Tasks:
    """A pool of Ray tasks."""

    def __init__(self, job: Job, most: int, address: str | None, num_threads: int, num_workers: int | None) -> None:
        if ray is None:
            raise InvalidSpec(
                "executor='ray' needs Ray, which is not installed here. Install it, pip install 'consilience[ray]', or "
                "use executor='processes'."
            )
        payload = packed(job)
        self._most, self._num_threads, self._num_workers = most, num_threads, num_workers
        is_private = address is None and not ray.is_initialized()
        self._began = not ray.is_initialized()
        if self._began:
            _begin(address, num_threads * num_workers if num_workers else max(num_threads, num_processors()))
        try:
            variables = thread_variables(num_threads) | (local_variables(num_threads) if is_private else {})
            options = {"num_cpus": num_threads, "max_retries": 0, "runtime_env": {"env_vars": variables}}
            self._function = ray.remote(**options)(_work)
            self._mailbox: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Mailbox).remote()
            self._token, self._payload = uuid.uuid4().hex, ray.put(payload)
        except BaseException:
            if self._began:
                ray.shutdown()
            raise
        self._tasks: dict[Any, Block] = {}

    @property
    def size(self) -> int:
        """As many as the cluster has processors for at this moment: it may grow and shrink."""
        there = int(ray.cluster_resources().get("CPU", 1) // self._num_threads)
        return min(self._most, self._num_workers or max(1, there))

    def submit(self, block: Block, initial_params: Any) -> None:
        """See `Pool`."""
        task = self._function.remote(self._token, [self._payload], block, initial_params, self._mailbox)
        self._tasks[task] = block

    def receive(self, on_chunk: Callable[[Chunk], None], timeout: float | None) -> Message | None:
        """See `Pool`."""
        deadline = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            left = max(0.0, min(_SECONDS_BETWEEN_LETTERS, deadline - time.monotonic()))
            done = ray.wait(list(self._tasks), timeout=left)[0] if self._tasks else time.sleep(left)
            for chunk in ray.get(self._mailbox.take.remote()):
                on_chunk(chunk)
            if done:
                return self._result(done[0])
            if time.monotonic() >= deadline:
                return None

    def _result(self, task: Any) -> Message:
        block = self._tasks.pop(task)
        try:
            return pickle.loads(ray.get(task))
        except ray.exceptions.RayTaskError as error:
            return Failed(block.index, error)
        except ray.exceptions.RuntimeEnvSetupError as error:
            return Failed(block.index, error)
        except ray.exceptions.RayError as error:
            return Lost(block.index, f"as Ray says: {type(error).__name__}")

    def close(self) -> None:
        """See `Pool`."""
        try:
            if self._tasks:
                self._mailbox.stop.remote()
                _, late = ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=_GRACE_SECONDS)
                for task in late:
                    ray.cancel(task, force=True)
            ray.kill(self._mailbox)
        finally:
            if self._began:
                ray.shutdown()


def _begin(address: str | None, num_processors: int) -> None:
    """A session of Ray: of the cluster at `address`, or of one of its own."""
    private = {"num_cpus": num_processors, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about GPUs that nobody asked for
        # Ray starts its servers by fork and exec, with a little Python in between that takes none of JAX's locks.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        try:
            ray.init(address or "local", logging_level=logging.ERROR, **({} if address else private))
        except (ConnectionError, ValueError) as error:
            raise InvalidSpec(
                f"address={address!r}: no Ray cluster answers there ({str(error).rstrip('.')}). Start one on this "
                "machine, `ray start --head`, and write address='auto'; or leave the address out."
            ) from error
