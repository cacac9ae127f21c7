"""Long computations beside a page: one thread at a time, with progress, an end that people can call, and a cache."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from consilience.errors import ConsilienceError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")
IDLE, RUNNING, DONE, STOPPED, FAILED = "idle", "running", "done", "stopped", "failed"
Report = Callable[[float], None]
"""Called by a computation with the share of it that is done; raises `Stop` if nobody wants the rest."""
_REMEMBERED = 32


class Stop(Exception):
    """Somebody has stopped the computation."""


class Job(Generic[K, T]):
    """A computation that is asked for again and again with other inputs; of several requests the last one counts.

    Methods may be called from any thread and return at once.

    Args:
        name: of its thread.
        turn: held while it computes, so that heavy jobs that share it take turns.
        known: results by their keys, which several jobs may share.

    Attributes:
        state: one of this module's constants.
        progress: share that is done, 0 to 1.
        error: what went wrong, for people.
        result: of the last request that came to its end, and its key; `None` before.

    Example:
        >>> job = Job[str, int]("sum")
        >>> job.request("a", lambda report: 1 + 1)
        >>> job.wait()
        >>> job.state, job.result
        ('done', ('a', 2))
    """

    def __init__(self, name: str, turn: threading.Lock | None = None, known: OrderedDict[K, T] | None = None) -> None:
        self.state, self.progress, self.error = IDLE, 0.0, ""
        self.result: tuple[K, T] | None = None
        self.key: K | None = None
        self._name, self._turn = name, turn or threading.Lock()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._begun = 0.0
        self._known: OrderedDict[K, T] = OrderedDict() if known is None else known

    def request(self, key: K, compute: Callable[[Report], T]) -> None:
        """Compute, unless the last request had this key; whatever else is being computed is stopped.

        What people have stopped, or what has failed, is not begun again by the same request: see `forget`.

        Args:
            key: all that the result depends on.
            compute: called in a thread, with a `Report`.
        """
        with self._lock:
            if key == self.key:
                return
            self._stop.set()
            self.key, self.error, self.progress, self._begun = key, "", 0.0, time.monotonic()
            if key in self._known:
                self.state, self.result = DONE, (key, self._known[key])
                return
            self.state, self._stop = RUNNING, threading.Event()
            self._thread = threading.Thread(
                target=self._work, args=(key, compute, self._stop), name=f"theory: {self._name}", daemon=True
            )
            self._thread.start()

    @property
    def seconds(self) -> float:
        """Since the last request."""
        return time.monotonic() - self._begun

    def stop(self) -> None:
        """Let the computation under way end without a result."""
        with self._lock:
            self._stop.set()
            if self.state == RUNNING:
                self.state = STOPPED

    def forget(self) -> None:
        """Let the next request compute, though it has been stopped or has failed before."""
        with self._lock:
            if self.state != RUNNING:
                self.key = None

    def wait(self, seconds: float = 60.0) -> None:
        """Block until the thread of the last request has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _work(self, key: K, compute: Callable[[Report], T], stop: threading.Event) -> None:
        def report(share: float) -> None:
            if stop.is_set():
                raise Stop
            self.progress = share

        try:
            with self._turn:
                report(0.0)
                found = compute(report)
        except Stop:
            return
        except ConsilienceError as error:
            self._fail(str(error), stop)
        except Exception as error:  # people look at the page, and not at the server's log
            self._fail(f"An error of the laboratory ended this computation. {type(error).__name__}: {error}", stop)
        else:
            with self._lock:
                if not stop.is_set():
                    self._known[key] = found
                    while len(self._known) > _REMEMBERED:
                        self._known.popitem(last=False)
                    self.state, self.progress, self.result = DONE, 1.0, (key, found)

    def _fail(self, error: str, stop: threading.Event) -> None:
        with self._lock:
            if not stop.is_set():
                self.state, self.error = FAILED, error
