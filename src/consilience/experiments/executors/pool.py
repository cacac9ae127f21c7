"""What goes to workers and what comes back: a job and its blocks, and messages about them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import xarray as xr

from consilience.experiments.plan import Block


@dataclass(frozen=True)
class Chunk:
    """A block is under way.

    Attributes:
        block: its index.
        replica_rounds: rounds × replicas done.
        agent_steps_per_second: rounds × agents × replicas per second.
    """

    block: int
    replica_rounds: int
    agent_steps_per_second: float


@dataclass(frozen=True)
class Finished:
    """A block is done.

    Attributes:
        block: its index.
        dataset: what it gave; `None` if it is to be read from the store.
        was_stored: whether it was found in the store and not computed.
        is_stored: whether it is in the store now.
        warnings: given by a worker, for this process to give: category or instance, file and line.
    """

    block: int
    dataset: xr.Dataset | None
    was_stored: bool
    is_stored: bool
    warnings: tuple[tuple[Warning, str, int], ...] = ()


@dataclass(frozen=True)
class Held:
    """A block that another sweep is computing."""

    block: int


@dataclass(frozen=True)
class Failed:
    """A block, or the start of a worker, raised an error."""

    block: int | None
    error: BaseException


@dataclass(frozen=True)
class Lost:
    """The worker of a block died.

    Attributes:
        block: its index.
        reason: how, as the end of a sentence.
    """

    block: int
    reason: str


Message = Finished | Held | Failed | Lost


class Stopped(Exception):
    """Raised between two chunks of a block that is not to go on."""


class Job(Protocol):
    """Computes blocks. It is sent to workers once, so it must survive pickling."""

    @property
    def num_bytes(self) -> int:
        """Memory that a block takes."""
        ...

    def __call__(
        self, block: Block, initial_params: Any, on_chunk: Callable[[Chunk], bool | None], /
    ) -> Finished | Held:
        """Load or compute a block. `on_chunk` is called between chunks; if it returns True, `Stopped` is raised."""
        ...


class Pool(Protocol):
    """Where a job runs. Used by one thread."""

    @property
    def size(self) -> int:
        """How many blocks to give it at a time."""
        ...

    def submit(self, block: Block, initial_params: Any) -> None:
        """Have a block computed. Exactly one message about it will be received."""
        ...

    def receive(self, on_chunk: Callable[[Chunk], None], timeout: float | None) -> Message | None:
        """Wait for the next message, and tell about chunks meanwhile; `None` after `timeout` seconds."""
        ...

    def close(self) -> None:
        """Stop blocks that are under way between two chunks, and end all workers."""
        ...


def attempt(
    job: Job, block: Block, initial_params: Any, on_chunk: Callable[[Chunk], bool | None]
) -> Finished | Held | Failed:
    """What a worker in another process sends back about a block: warnings and errors too, and no data that is stored.

    Raises:
        Stopped: as `job` does.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            message = job(block, initial_params, on_chunk)
        except Stopped:
            raise
        except Exception as error:
            return Failed(block.index, portable(error))
    if isinstance(message, Held):
        return message
    told = tuple((portable(each.message), each.filename, each.lineno) for each in caught)
    return replace(message, dataset=None if message.is_stored else message.dataset, warnings=told)


def portable(thing: Any) -> Any:
    """An exception or warning that survives the way to another process, with its traceback as a note.

    Example:
        >>> class Odd(Exception):
        ...     def __init__(self, one, other):
        ...         super().__init__(f"{one} and {other}")
        >>> portable(Odd(1, 2))
        RuntimeError('Odd: 1 and 2')
    """
    import traceback

    try:
        if str(pickle.loads(pickle.dumps(thing))) != str(thing):
            raise ValueError
    except Exception:
        plain = (
            UserWarning(str(thing)) if isinstance(thing, Warning) else RuntimeError(f"{type(thing).__name__}: {thing}")
        )
        plain.__traceback__ = thing.__traceback__
        thing = plain
    if thing.__traceback__ is not None:
        lines = "".join(traceback.format_exception(thing)).rstrip()
        thing.add_note(f"In a worker:\n{lines}")
    return thing
