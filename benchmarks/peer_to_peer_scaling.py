"""What predictions cost against the numbers of agents and samples: in kernel space, and by products with J and Jᵀ.

    python benchmarks/peer_to_peer_scaling.py '{"form": "kernel", "agents": 100, "samples": 10000, "rounds": 500}'

measures one size, and prints it; `peer_to_peer.py` has a table made of them.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

NUM_PIXELS = 784


@dataclass(frozen=True)
class Case:
    """One size.

    Attributes:
        form: "kernel" or "matrix-free".
        agents: Q.
        samples: of all agents together.
        rounds: that are timed.
        outputs: C.
        width: of the one hidden layer.
        test: test samples.
        precision: of the parameters; kernels are always in double precision.
    """

    form: str
    agents: int
    samples: int
    rounds: int = 20
    outputs: int = 1
    width: int = 1024
    test: int = 1000
    precision: str = "float32"


SIZES = (
    *(Case("kernel", 100, samples) for samples in (500, 1000, 2000, 5000, 10_000)),
    *(Case("kernel", agents, 5000) for agents in (5, 20)),
    *(Case("matrix-free", 100, samples, rounds=5, outputs=10) for samples in (1000, 2000, 5000, 10_000)),
    *(Case("matrix-free", agents, 5000, rounds=5, outputs=10) for agents in (5, 20)),
)
QUICK_SIZES = tuple(
    Case(form, agents, samples, rounds=2, outputs=outputs, width=64, test=20)
    for form, outputs in (("kernel", 1), ("matrix-free", 3))
    for agents, samples in ((10, 100), (10, 200), (5, 200))
)


@dataclass(frozen=True)
class Cost:
    """Seconds to prepare, of a round and of a record beside it; most memory of the process in GB."""

    preparing: float
    round: float
    record: float
    gigabytes: float


def data_of(case: Case) -> Any:
    """Random samples of MNIST's shape: speed does not depend on the values."""
    random = np.random.default_rng(0)
    shape = case.agents, case.samples // case.agents
    return (
        random.random((*shape, NUM_PIXELS), dtype=np.float32),
        random.normal(size=(*shape, case.outputs)),
        random.random((case.test, NUM_PIXELS), dtype=np.float32),
        random.normal(size=(case.test, case.outputs)),
    )


def measure(case: Case) -> Cost:
    """One size, in this process."""
    import jax

    import consilience as cs

    model = cs.models.ntk_mlp(depth=1, width=case.width)
    with jax.enable_x64(case.precision == "float64"):
        params = model.init(jax.random.key(0), (NUM_PIXELS,), case.outputs)
        params = jax.tree.map(lambda leaf: jax.block_until_ready(leaf.astype(case.precision)), params)
    mixing = cs.graphs.metropolis(cs.graphs.cycle(case.agents))
    find = in_kernel_space if case.form == "kernel" else without_kernel
    seconds = find(case, model, params, mixing)
    return Cost(*seconds, most_memory() / 1e9)


def most_memory() -> int:
    """Bytes that this process has held at most. (Linux's `getrusage` counts what its parent held when it forked.)"""
    status = Path("/proc/self/status")
    if status.exists():
        return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def in_kernel_space(case: Case, model: Any, params: Any, mixing: Any) -> tuple[float, float, float]:
    """Seconds of linearising, and of a round; a record is part of it."""
    from consilience.theory import peer_to_peer

    inputs, targets, test_inputs, test_targets = data_of(case)
    start = time.perf_counter()
    linear = peer_to_peer.linearize(
        model, params, inputs, targets, test_inputs=test_inputs, test_targets=test_targets, max_memory=10e9
    )
    middle = time.perf_counter()
    peer_to_peer.trajectory(linear, mixing, learning_rate=0.01, num_rounds=case.rounds)
    return middle - start, (time.perf_counter() - middle) / case.rounds, 0.0


def without_kernel(case: Case, model: Any, params: Any, mixing: Any) -> tuple[float, float, float]:
    """Seconds of the first round, less a later one: compiling; of a round; of a record."""
    import jax

    from consilience.theory.peer_to_peer.arguments import learning_data
    from consilience.theory.peer_to_peer.parameter_rounds import (
        BATCH,
        Shards,
        advance,
        consensus_distance,
        output_changes,
    )

    data, precision = learning_data(*data_of(case)), np.dtype(case.precision)
    shards = Shards.of(data, np.zeros_like(data.targets), precision)
    deviations = jax.tree.map(lambda leaf: jax.numpy.zeros((case.agents, *leaf.shape), leaf.dtype), params)
    rates = {"algorithm": "dgd", "learning_rate": 0.01, "weight_decay": 0.0}

    def rounds(count: int) -> float:
        nonlocal deviations
        start = time.perf_counter()
        deviations = advance(model, params, deviations, shards, mixing.weights[None], count=count, **rates)
        jax.block_until_ready(deviations)
        return time.perf_counter() - start

    first = rounds(1)
    round = rounds(case.rounds) / case.rounds

    def record(most: int | None = None) -> float:
        start = time.perf_counter()
        for inputs in (data.inputs[:most], data.test_inputs[:most]):
            output_changes(model, params, deviations, inputs, case.outputs)
        consensus_distance(deviations)
        return time.perf_counter() - start

    record(BATCH)  # compiles
    return first - round, round, record()


def measured(case: Case, threads: int) -> Cost:
    """One size, in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), json.dumps(asdict(case)), str(threads)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Cost(**json.loads(output.splitlines()[-1]))


def section_on_scaling(cases: Sequence[Case], threads: int) -> str:
    """A table, and by which powers cost grows."""
    costs = {case: measured(case, threads) for case in cases}
    head = ["form", "agents", "samples", "outputs", "preparing, s", "a round, ms", "a record, s", "most memory, GB"]
    rows = [
        [
            case.form, str(case.agents), f"{case.samples:,}", str(case.outputs), f"{cost.preparing:.2f}",
            f"{1e3 * cost.round:.3g}", f"{cost.record:.2g}" if case.form == "matrix-free" else "",
            f"{cost.gigabytes:.2f}",
        ]
        for case, cost in costs.items()
    ]  # fmt: skip
    body = "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
    one = cases[0]
    notes = [
        f"One hidden layer of {one.width} neurons, random samples of MNIST's shape, {one.test} test samples, DGD on a "
        f"cycle, {threads} processors; each size in a process of its own, measured once.",
        "kernel: `linearize` (preparing) and `trajectory`, which records every round, in double precision.",
        "matrix-free: the rounds of `matrix_free_trajectory`, in single precision; preparing is compiling. A record "
        "evaluates all agents on all data; `record_every` says after how many rounds.",
        "Memory is that of the process, of which its libraries take 0.3 GB.",
        *(growth(form, costs) for form in ("kernel", "matrix-free")),
    ]
    return f"## Scaling\n\n{body}\n\n" + "\n".join(f"- {note}" for note in notes)


def growth(form: str, costs: dict[Case, Cost]) -> str:
    """By which powers of samples (most agents) and agents (as many samples as most sizes have) costs grow."""
    mine = {case: cost for case, cost in costs.items() if case.form == form}
    agents = max(case.agents for case in mine)
    usual = statistics.mode(case.samples for case in mine)
    parts = []
    for name in ("preparing", "round") if form == "kernel" else ("round", "record"):
        by_samples = {case.samples: getattr(cost, name) for case, cost in mine.items() if case.agents == agents}
        by_agents = {case.agents: getattr(cost, name) for case, cost in mine.items() if case.samples == usual}
        parts.append(f"{name} {slope(by_samples):.2f} in samples, {slope(by_agents):.2f} in agents")
    return (
        f"Fitted exponents, {form}: {'; '.join(parts)} (1: linear; samples of all agents together at {agents} agents, "
        f"agents at {usual:,} samples)."
    )


def slope(values: dict[int, float]) -> float:
    """Of the logarithm against that of the size."""
    return float(np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)[0])


def main() -> None:
    from throughput import limit_threads

    limit_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    print(json.dumps(asdict(measure(Case(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
