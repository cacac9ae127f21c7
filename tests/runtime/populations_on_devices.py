"""Run by tests, in processes of its own: populations shared out among devices, next to the same on one device.

    python populations_on_devices.py DEVICES [CASE …]                 a process with that many devices
    consilience launch -n 4 populations_on_devices.py 0 [CASE …]      several processes with one device each

prints, as JSON, case → largest difference between the two in any result.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

import consilience as cs
from consilience.graphs import Bernoulli, Schedules
from consilience.simulation import (
    Checkpoint,
    Placement,
    Progress,
    precision,
    run_ensemble,
    to_dataset,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from registries import directed_cycle, small_problem, weighted_star

N = 8
PROBLEM = small_problem(N, sizes=(3, 4, 5, 3, 2, 4, 3, 5))
DGD, EQ2 = cs.algorithms.DGD(learning_rate=0.1), cs.algorithms.DiffusiveCoupling(learning_rate=0.1, coupling=1.0)


def simulate(devices: Any, algorithm: Any = EQ2, graph: Any = None, **options: Any) -> xr.Dataset:
    observe = ["loss", "consensus_distance"]
    return PROBLEM.simulate(
        algorithm, graph=graph or cs.graphs.complete(N), num_rounds=12, observe=observe, devices=devices, **options
    )


def stopped(devices: Any) -> xr.Dataset:
    def stop(progress: Progress) -> bool:
        return progress.round >= 4

    return simulate(devices, observe_every=2, on_chunk=stop)


def interrupted(devices: Any) -> xr.Dataset:
    """From a checkpoint taken half way."""
    taken: list[Checkpoint] = []
    experiment = PROBLEM.experiment(EQ2, graph=cs.graphs.cycle(N), num_rounds=12, observe_every=3, observe=["loss"])
    placement = Placement(tuple(devices or ()))

    def keep(progress: Progress) -> bool:
        taken.append(progress.take_checkpoint())
        return progress.round >= 6

    with precision("float64"):
        run_ensemble(experiment, [EQ2], [0], on_chunk=keep, placement=placement)
        end = run_ensemble(experiment, [EQ2], [0], checkpoint=taken[-1], placement=placement)
    return to_dataset(end)


def diverging(devices: Any) -> xr.Dataset:
    return simulate(devices, cs.algorithms.DGD(learning_rate=1e100))


CASES: dict[str, Callable[[Any], xr.Dataset]] = {
    "a mean": lambda devices: simulate(devices),
    "neighbour lists": lambda devices: simulate(devices, DGD, cs.graphs.cycle(N)),
    "directed": lambda devices: simulate(devices, DGD, directed_cycle(N), mixing=cs.graphs.row_stochastic),
    "a matrix": lambda devices: simulate(devices, EQ2, weighted_star(N)),
    "mini-batches": lambda devices: simulate(devices, EQ2, cs.graphs.cycle(N), batch_size=2),
    "drawn parameters": lambda devices: simulate(devices, initial_params=None, batch_size=2),
    "absent agents": lambda devices: simulate(
        devices, DGD, cs.graphs.cycle(N), schedules=Schedules(active=Bernoulli(0.6, N))
    ),
    "federated averaging": lambda devices: simulate(
        devices, cs.algorithms.FederatedAveraging(0.1, local_steps=2), schedules=Schedules(active=Bernoulli(0.6, N))
    ),
    "single messages": lambda devices: simulate(
        devices, cs.algorithms.TriadicCoupling(0.1, 1.0, triadic_coupling=0.5, selectivity=1.0), cs.graphs.cycle(N)
    ),
    "stopped": stopped,
    "interrupted": interrupted,
    "diverging": diverging,
}


def difference(first: xr.Dataset, second: xr.Dataset) -> float:
    assert set(first.data_vars) == set(second.data_vars)
    worst = 0.0
    for name in first.data_vars:
        a, b = first[name].values, second[name].values
        if a.dtype.kind != "f":
            assert (a == b).all(), name
        else:
            assert (np.isfinite(a) == np.isfinite(b)).all(), name
            finite = np.isfinite(a)
            scale = np.abs(a[finite]).max(initial=1.0)
            worst = max(worst, float(np.abs(a[finite] - b[finite]).max(initial=0.0)) / scale)
    return worst


def main() -> None:
    if sys.argv[1] != "0":
        jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    alone = jax.local_devices()[:1]
    cases = sys.argv[2:] or CASES
    found = {name: difference(CASES[name](jax.devices()), CASES[name](alone)) for name in cases}
    if jax.process_index() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
