"""Blocks in this process: one after the other, or on threads."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from consilience.experiments.executors.pool import Chunk, Failed, Job, Message, Stopped
from consilience.experiments.plan import Block


class Inline:
    """One block after the other, in the thread that asks."""

    size = 1

    def __init__(self, job: Job) -> None:
        self._job = job
        self._waiting: deque[tuple[Block, Any]] = deque()

    def submit(self, block: Block, initial_params: Any) -> None:
        """See `Pool`."""
        self._waiting.append((block, initial_params))

    def receive(self, on_chunk: Callable[[Chunk], None], timeout: float | None) -> Message | None:
        """See `Pool`."""
        if not self._waiting:
            time.sleep(timeout or 0.0)
            return None
        # Errors, also of `on_chunk`, and Ctrl-C come from here as they are.
        return self._job(*self._waiting.popleft(), on_chunk)

    def close(self) -> None:
        """See `Pool`."""
        self._waiting.clear()


class Threads:
    """Blocks side by side. Messages wait in a queue, so that callbacks run in the thread that asks."""

    def __init__(self, job: Job, size: int) -> None:
        self.size = size
        self._job = job
        self._messages: queue.SimpleQueue[Message | Chunk] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="block")

    def submit(self, block: Block, initial_params: Any) -> None:
        """See `Pool`."""
        self._threads.submit(self._work, block, initial_params)

    def _work(self, block: Block, initial_params: Any) -> None:
        try:
            message = self._job(block, initial_params, self._on_chunk)
        except Stopped:
            return
        except BaseException as error:
            message = Failed(block.index, error)
        self._messages.put(message)

    def _on_chunk(self, chunk: Chunk) -> bool:
        self._messages.put(chunk)
        return self._stopping.is_set()

    def receive(self, on_chunk: Callable[[Chunk], None], timeout: float | None) -> Message | None:
        """See `Pool`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                message = self._messages.get(
                    timeout=None if deadline is None else max(0.0, deadline - time.monotonic())
                )
            except queue.Empty:
                return None
            if not isinstance(message, Chunk):
                return message
            on_chunk(message)

    def close(self) -> None:
        """See `Pool`."""
        self._stopping.set()
        self._threads.shutdown(cancel_futures=True)
