"""How long a sweep will take: measured on a few rounds of it, before it starts."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from consilience.experiments.executors import Executor, Local, most_side_by_side
from consilience.experiments.resolve import Sweep
from consilience.simulation import make_ensemble, precision
from consilience.store import Store

_TRIAL_ROUNDS = 40


@dataclass(frozen=True)
class Estimate:
    """The time that sweeps will take on this machine.

    Attributes:
        seconds: for what is not in the store.
        blocks: blocks to compute.
        blocks_stored: blocks that are there already.
    """

    seconds: float
    blocks: int
    blocks_stored: int

    def __str__(self) -> str:
        hours, minutes = divmod(round(self.seconds / 60), 60)
        long = f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{self.seconds:.0f} s"
        stored = f" ({self.blocks_stored} more are stored)" if self.blocks_stored else ""
        return (
            f"About {long} for {self.blocks} blocks{stored}, measured on {_TRIAL_ROUNDS} rounds of each sweep. It may "
            "be interrupted at any time; the same command goes on where it stopped."
        )


def estimate(
    sweeps: Sequence[Sweep],
    *,
    store: Store | None = None,
    force: bool = False,
    executor: Executor | None = None,
) -> Estimate:
    """Measure a few rounds of each sweep, and extrapolate to the blocks that are not stored yet.

    As many blocks are measured side by side as the executor will run: they share processors and memory.

    Args:
        sweeps: what will run.
        store: where finished blocks may be.
        force: whether stored blocks will be computed again.
        executor: where blocks will run; on threads of this process by default.

    Example:
        >>> from consilience.experiments import resolve_spec
        >>> estimate([resolve_spec({"over": {"coupling": [0.0, 1.0]}, "run": {"num_rounds": 100}})]).blocks
        1
    """
    executor = executor or Local()
    seconds, missing, stored = 0.0, 0, 0
    for sweep in sweeps:
        finished: set[str] = set()
        if store is not None and not force and sweep.run_id is not None and sweep.spec is not None:
            finished = set(store.open_run(sweep.run_id, sweep.spec).cells())
        open_blocks = [block for block in sweep.blocks if block.name not in finished]
        missing, stored = missing + len(open_blocks), stored + len(sweep.blocks) - len(open_blocks)
        if open_blocks:
            at_once = min(executor.side_by_side(sweep.bytes_of_a_block), most_side_by_side(open_blocks))
            seconds += _seconds_of_blocks(sweep, at_once) * math.ceil(len(open_blocks) / at_once)
    return Estimate(seconds, missing, stored)


def _seconds_of_blocks(sweep: Sweep, at_once: int) -> float:
    """Time for so many blocks like the first of a sweep side by side, from a few of its rounds and one evaluation."""
    block = sweep.blocks[0]
    algorithms = [sweep.algorithm(cell) for cell in block.cells]
    seeds = [sweep.seed_of(cell) for cell in block.cells]
    experiment = dataclasses.replace(sweep.experiment, algorithm=algorithms[0])

    def measured(rounds: int) -> tuple[float, float]:
        """Seconds of so many rounds, and of one evaluation."""
        with precision(experiment.dtype):
            start = time.perf_counter()
            ensemble.advance(state, replicas, seeds, 0, rounds, _TRIAL_ROUNDS)
            middle = time.perf_counter()
            ensemble.measure(state, replicas)
            return middle - start, time.perf_counter() - middle

    with precision(experiment.dtype):
        ensemble = make_ensemble(experiment, seeds)
        replicas = ensemble.replicas(algorithms, seeds)
        state = ensemble.initial_state(replicas, ensemble.initial_params(seeds))
    measured(2)  # compiles
    with ThreadPoolExecutor(at_once) as threads:
        times = list(threads.map(measured, [_TRIAL_ROUNDS] * at_once))
    rounds, record = (max(parts) for parts in zip(*times, strict=True))
    after = -1 if experiment.average_after is None else experiment.average_after
    records = int((experiment.observed_rounds() > after).sum())
    compiling = ensemble.compile_seconds * at_once / len(sweep.blocks)
    return experiment.num_rounds * rounds / _TRIAL_ROUNDS + records * record + compiling
