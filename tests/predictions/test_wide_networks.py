"""Training of wide networks against their prediction from the tangent kernel: paper 003's experiment.

Five agents with twenty images each, two digits per agent, learn which numbers are odd: one hidden layer in NTK
parametrisation (σ_w² = 2, σ_b² = 0.1), Metropolis weights, a common start. The error of a trajectory is the largest of
|predicted/trained − 1| of the test loss over agents and rounds. Over initialisations it scatters by a factor of two to
three either way, and falls roughly as 1/width.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from consilience.experiments import Sweep, run_sweep
from consilience.recipes import peer_to_peer
from consilience.recipes.peer_to_peer import ALGORITHMS, GRAPHS, PeerToPeer, slope
from consilience.tasks import shard_arrays
from consilience.theory.peer_to_peer import linearize, trajectory

DIGITS = dataclasses.replace(
    peer_to_peer.for_dataset(PeerToPeer(), "digits"),
    other_widths=(),
    width=256,
    num_rounds=100,
    observe_every=5,
    num_realizations=2,
)


def errors_by_round(
    config: PeerToPeer, graphs: tuple[str, ...], algorithms: tuple[str, ...], data_dir: Path | None = None
) -> xr.DataArray:
    """Largest over agents, of networks with one hidden layer, dimensions (width, graph, algorithm, seed, round)."""
    planned = peer_to_peer.sweeps(config, data_dir=None if data_dir is None else str(data_dir))
    cases = [case for case in config.cases if case.setting == "network"]
    found = [
        [_on_one_graph(config, {name: planned[case, graph, name] for name in algorithms}) for graph in graphs]
        for case in cases
    ]
    coords = {
        "width": [case.width for case in cases],
        "graph": list(graphs),
        "algorithm": list(algorithms),
        "round": planned[cases[0], graphs[0], algorithms[0]].experiment.observed_rounds(),
    }
    return xr.DataArray(found, coords, ("width", "graph", "algorithm", "seed", "round"))


def _on_one_graph(config: PeerToPeer, planned: dict[str, Sweep]) -> list[np.ndarray]:
    """Algorithm by algorithm, shape (seeds, rounds)."""
    experiment = next(iter(planned.values())).experiment
    model, task = experiment.model, experiment.task
    inputs, targets = shard_arrays(task, experiment.shards)
    starts = [peer_to_peer.common_start(model, task, seed) for seed in range(config.num_realizations)]
    networks = [
        linearize(model, start, inputs, targets, test_inputs=task.test_inputs, test_targets=task.test_labels)
        for start in starts
    ]
    found = []
    for algorithm, one in planned.items():
        trained = run_sweep(one).loss.transpose("seed", "round", "agent").values
        predicted = [
            trajectory(
                network, experiment.mixing, algorithm=algorithm, learning_rate=config.learning_rate,
                num_rounds=config.num_rounds, record_every=config.observe_every,
            ).test_loss.values
            for network in networks
        ]  # fmt: skip
        found.append(abs(np.stack(predicted) / trained - 1).max(axis=-1))
    return found


def test_digits_at_width_256() -> None:
    errors = errors_by_round(DIGITS, ("star",), ("dgd",))
    # Measured with eight seeds: 0.2 to 1.7 % in a hundred rounds.
    assert errors.max() < 0.04
    # In ten rounds parameters move little, and 0.43 % is the largest. CTA in place of DGD would leave 0.8 %, ATC 1.7 %,
    # a rate 5 % off 2.2 %.
    assert errors.sel(round=slice(0, 10)).max() < 0.006
    assert errors.max() > 1e-4  # a network that is not linear, after all: single precision alone leaves 1e-6


@pytest.mark.slow
def test_digits_against_the_width() -> None:
    config = dataclasses.replace(DIGITS, other_widths=(64, 1024), num_realizations=8)
    errors = errors_by_round(config, ("cycle",), ("dgd",)).max("round").isel(graph=0, algorithm=0)
    found = slope(errors)
    # An error of first order in 1/√width would give −1/2, one of second order −1.
    assert found.interval[1] < -0.5
    assert found.interval[0] > -1.5


@pytest.mark.slow
def test_mnist_at_width_1024(data_dir: Path) -> None:
    """All graphs, all algorithms: minutes."""
    config = PeerToPeer(other_widths=(), num_realizations=1, num_test=500, observe_every=5)
    errors = errors_by_round(config, tuple(GRAPHS), tuple(ALGORITHMS), data_dir)
    # 0.72 % at the largest, on the star; two further initialisations have 0.2 and 0.25 %. On 200 test images, over
    # which less of the error averages out, it is 1.0 %.
    assert errors.max() <= 0.01


@pytest.mark.slow
def test_mnist_at_width_4096(data_dir: Path) -> None:
    """One case, for it takes two minutes; all of them are in `consilience reproduce peer-to-peer --full`."""
    config = PeerToPeer(width=4096, other_widths=(), num_realizations=1, num_test=500, observe_every=20)
    errors = errors_by_round(config, ("cycle",), ("dgd",), data_dir)
    assert errors.max() <= 0.004  # 0.13 %
