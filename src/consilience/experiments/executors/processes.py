"""Blocks in processes of this machine, each at the other end of a pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from consilience.experiments.executors.pool import Chunk, Job, Lost, Message
from consilience.experiments.executors.schedule import WorkerLost
from consilience.experiments.executors.sending import local_variables, packed, thread_variables
from consilience.experiments.executors.worker import READY
from consilience.experiments.plan import Block

_MAX_FALSE_STARTS = 3
_GRACE_SECONDS = 30.0
"""For a chunk to end, and its checkpoint to be saved."""

# Not multiprocessing.Process: that forks under JAX's threads or runs the user's script again, and takes the environment
# of this process, where the number of threads cannot be set. Ctrl-C is for the sweep, which closes the pipe.
_START = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "from consilience.experiments.executors.worker import main; main({})"
)


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    pipe: Connection
    has_job: bool = False
    block: Block | None = None

    @property
    def is_free(self) -> bool:
        return self.has_job and self.block is None


class Workers:
    """A pool of processes. Those that die are replaced."""

    def __init__(self, job: Job, size: int, num_threads: int) -> None:
        self.size = size
        self._payload = packed(job)
        self._variables = {**os.environ, **local_variables(num_threads), **thread_variables(num_threads)}
        self._waiting: deque[tuple[Block, Any]] = deque()
        self._false_starts = 0
        self._workers: list[_Worker] = []
        try:
            for _ in range(size):
                self._workers.append(self._start())
        except BaseException:
            self.close()
            raise

    def _start(self) -> _Worker:
        here, there = Pipe()
        with there:
            command = [sys.executable, "-c", _START.format(there.fileno())]
            process = subprocess.Popen(
                command, env=self._variables, pass_fds=[there.fileno()], stdin=subprocess.DEVNULL, stdout=2
            )
        return _Worker(process, here)

    def submit(self, block: Block, initial_params: Any) -> None:
        """See `Pool`."""
        self._waiting.append((block, initial_params))
        self._feed()

    def _feed(self) -> None:
        for worker in self._workers:
            if self._waiting and worker.is_free:
                worker.block, initial_params = self._waiting.popleft()
                self._send(worker, (worker.block, initial_params))

    def _send(self, worker: _Worker, content: Any) -> None:
        """A worker that has just died is no error here: the end of its pipe will be received."""
        with contextlib.suppress(OSError):
            worker.pipe.send_bytes(content) if isinstance(content, bytes) else worker.pipe.send(content)

    def receive(self, on_chunk: Callable[[Chunk], None], timeout: float | None) -> Message | None:
        """See `Pool`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = wait([worker.pipe for worker in self._workers], left)
            if not ready:
                return None
            worker = next(worker for worker in self._workers if worker.pipe in ready)
            self._workers.remove(worker)
            self._workers.append(worker)  # the others come first next time
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                lost = self._replace(worker)
                if lost is not None:
                    return lost
                continue
            if isinstance(message, Chunk):
                on_chunk(message)
                continue
            if message == READY:
                self._send(worker, self._payload)
                worker.has_job = True
                self._feed()
                continue
            worker.block = None
            return message

    def _replace(self, worker: _Worker) -> Lost | None:
        """A new worker in place of a dead one, and the block that died with it."""
        worker.pipe.close()
        code = worker.process.wait()
        self._workers.remove(worker)
        if worker.block is None:
            self._false_starts += 1
            if self._false_starts >= _MAX_FALSE_STARTS:
                raise WorkerLost(
                    f"{self._false_starts} workers died before they had anything to do, the last {_reason(code)}. What "
                    "they wrote on standard error says why. Use fewer workers if memory was short, or executor='local'."
                )
        self._workers.append(self._start())
        return None if worker.block is None else Lost(worker.block.index, _reason(code))

    def close(self) -> None:
        """See `Pool`."""
        for worker in self._workers:
            worker.pipe.close()  # tells a worker to stop
        deadline = time.monotonic() + _GRACE_SECONDS
        try:
            for worker in self._workers:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            pass  # a checkpoint of the last minute is there
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.wait()


def _reason(code: int) -> str:
    """How a process ended, as the end of a sentence."""
    if code >= 0:
        return f"with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"by signal {name}" + (" (out of memory, perhaps)" if name == "SIGKILL" else "")
