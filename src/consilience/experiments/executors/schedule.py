"""Which block runs when: those that follow others after them, and those whose worker died once more."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from consilience.errors import ConsilienceError
from consilience.experiments.executors.pool import Chunk, Failed, Finished, Held, Job, Lost, Message, Pool
from consilience.experiments.plan import Block

_MAX_ATTEMPTS = 3
_SECONDS_BETWEEN_LOOKS = 0.5
"""At a block that another sweep is computing."""


class WorkerLost(ConsilienceError, RuntimeError):
    """Workers died again and again."""


class LostWorkerWarning(UserWarning):
    """A worker died; its block is computed again."""


class Collector(Protocol):
    """Who runs a sweep: knows what blocks start from, and is told what becomes of them."""

    def initial_params(self, block: Block) -> Any:
        """What a block starts from, once the block that it follows is finished."""
        ...

    def under_way(self, chunk: Chunk) -> None:
        """A block was computed a little further."""
        ...

    def take(self, finished: Finished) -> None:
        """A block is finished."""
        ...


class Opener(Protocol):
    """An executor."""

    def open(self, job: Job, most: int) -> Pool:
        """A pool for at most `most` blocks side by side."""
        ...


@dataclass
class _Schedule:
    """Blocks that are not finished: waiting in order, or given to the pool."""

    waiting: list[Block]
    running: dict[int, Block] = field(default_factory=dict)
    attempts: Counter[int] = field(default_factory=Counter)
    held_until: dict[int, float] = field(default_factory=dict)

    def next_ready(self) -> Block | None:
        """Takes the first block that follows none of the others, and that was not seen held just now."""
        unfinished = {block.index for block in self.waiting} | self.running.keys()
        now = time.monotonic()
        for block in self.waiting:
            if block.follows not in unfinished and self.held_until.get(block.index, now) <= now:
                self.waiting.remove(block)
                self.running[block.index] = block
                self.attempts[block.index] += 1
                return block
        return None

    def timeout(self) -> float | None:
        """Seconds until a held block is looked at again."""
        times = [self.held_until[block.index] for block in self.waiting if block.index in self.held_until]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def settle(self, message: Message) -> None:
        """What becomes of a block that the pool is done with.

        Raises:
            WorkerLost: if its worker died the third time; or the error that it ended with.
        """
        if isinstance(message, Failed):
            raise message.error
        block = self.running.pop(message.block)
        if isinstance(message, Held):
            self.attempts[block.index] -= 1
            self.held_until[block.index] = time.monotonic() + _SECONDS_BETWEEN_LOOKS
            self.waiting.append(block)
        elif isinstance(message, Lost):
            if self.attempts[block.index] >= _MAX_ATTEMPTS:
                raise WorkerLost(
                    f"{block.name} was given up: its worker died {_MAX_ATTEMPTS} times, the last time "
                    f"{message.reason}. Memory is the usual reason. Use fewer workers, or a smaller experiment; what "
                    "was finished is in the store, if there is one."
                )
            warnings.warn(
                f"A worker died while it computed {block.name}, {message.reason}; the block is computed again.",
                LostWorkerWarning,
                stacklevel=4,
            )
            self.waiting.insert(0, block)


def most_side_by_side(blocks: Sequence[Block]) -> int:
    """How many blocks can run at a time: those that follow none of the others.

    Example:
        >>> most_side_by_side([Block(0, (0,)), Block(1, (1,), follows=0), Block(2, (2,))])
        2
    """
    indices = {block.index for block in blocks}
    return sum(block.follows not in indices for block in blocks)


def run_blocks(executor: Opener, job: Job, blocks: Sequence[Block], collector: Collector) -> None:
    """Run blocks, each after the one that it follows.

    Args:
        executor: where.
        job: computes them.
        blocks: in the order in which they begin.
        collector: is asked and told, in the thread that calls this.

    Raises:
        WorkerLost: if workers die again and again; or the first error of a block, after the others have stopped between
            two chunks.
    """
    schedule = _Schedule(list(blocks))
    with closing(executor.open(job, most_side_by_side(blocks))) as pool:
        while schedule.waiting or schedule.running:
            while len(schedule.running) < pool.size and (block := schedule.next_ready()) is not None:
                pool.submit(block, collector.initial_params(block))
            message = pool.receive(collector.under_way, schedule.timeout())
            if message is None:
                continue
            schedule.settle(message)
            if isinstance(message, Finished):
                for warning, filename, line in message.warnings:
                    warnings.warn_explicit(warning, type(warning), filename, line)
                collector.take(message)
