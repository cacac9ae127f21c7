"""What is read off a state: losses, consensus, outputs, errors, coefficients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT
from consilience.theory.peer_to_peer.arguments import Floats, LearningData
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.rounds import State

KEEP = ("outputs", "errors", "coefficients")
"""What can be kept beside losses and consensus distance."""

_DESCRIPTIONS = {
    "train_loss": "loss of an agent on its own data, 1/(2n) of the sum of squared errors",
    "objective": "mean over all agents' losses at the agent's parameters, (1/Q) Σ_r L_r(θ_q)",
    "test_loss": "loss of an agent on the test data",
    "consensus_distance": "root mean square distance of the agents' parameters from their mean",
    "train_outputs": "outputs of an agent on all training data",
    "test_outputs": "outputs of an agent on the test data",
    "train_errors": "outputs minus targets of an agent on all training data",
    "test_errors": "outputs minus targets of an agent on the test data",
    "coefficients": "z of θ_q − θ⁰ = Σ z (rows of J, then unit vectors along θ⁰ and the offsets)",
}


def squared_errors(linearization: Linearization, state: State) -> tuple[Floats, Floats]:
    """Σ over columns of (output − target)², on all training rows and on the test rows, (replicas, agents, rows)."""
    lin = linearization
    train = state.products[..., : lin.num_rows] + lin.residuals.T
    test = state.products[..., len(lin.gram) :] + (lin.test_outputs - lin.test_targets).T
    return np.square(train).sum(axis=2), np.square(test).sum(axis=2)


def losses(linearization: Linearization, state: State) -> dict[str, Floats]:
    """Train loss, objective and test loss of every agent, each of shape (replicas, agents)."""
    lin = linearization
    train, test = squared_errors(lin, state)
    by_shard = np.add.reduceat(train, [rows.start for rows in lin.shards], axis=-1) / (2 * lin.sizes)
    num_test = max(test.shape[-1] // lin.rows_per_sample, 1)
    return {
        "train_loss": np.diagonal(by_shard, axis1=-2, axis2=-1).copy(),
        "objective": by_shard.mean(axis=-1),
        "test_loss": test.sum(axis=-1) / (2 * num_test),
    }


def consensus_distance(linearization: Linearization, state: State) -> Floats:
    """√(mean_q ‖θ_q − θ̄‖²), shape (replicas,)."""
    z = state.coefficients - state.coefficients.mean(axis=1, keepdims=True)
    products = state.products[..., : z.shape[-1]]
    squares = (z * (products - products.mean(axis=1, keepdims=True))).sum(axis=(-1, -2)).mean(axis=1)
    return np.sqrt(np.maximum(squares, 0.0))  # rounding may leave a square of a vanishing distance negative


def measure(linearization: Linearization, state: State, keep: tuple[str, ...] = ()) -> dict[str, Floats]:
    """All quantities of a state of one replica."""
    lin = linearization
    found = {name: values[0] for name, values in losses(lin, state).items()}
    found["consensus_distance"] = consensus_distance(lin, state)[0]
    if {"outputs", "errors"} & set(keep):
        train = _by_sample(lin, state.products[0, ..., : lin.num_rows] + lin.outputs.T)
        test = _by_sample(lin, state.products[0, ..., len(lin.gram) :] + lin.test_outputs.T)
        if "outputs" in keep:
            found |= {"train_outputs": train, "test_outputs": test}
        if "errors" in keep:
            found["train_errors"] = train - lin.targets.reshape(-1, lin.num_outputs)
            found["test_errors"] = test - lin.test_targets.reshape(-1, lin.num_outputs)
    if "coefficients" in keep:
        found["coefficients"] = state.coefficients[0].transpose(0, 2, 1)
    return found


def measure_all(linearization: Linearization, states: Iterable[State], keep: tuple[str, ...] = ()) -> dict[str, Floats]:
    """All quantities of several states of one replica, stacked along a leading axis."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond the stability limit losses grow without bound
        records = [measure(linearization, state, keep) for state in states]
    return {name: np.stack([record[name] for record in records]) for name in records[0]}


def _by_sample(linearization: Linearization, values: Floats) -> Floats:
    """(agents, columns, rows) → (agents, samples, outputs)."""
    return values.transpose(0, 2, 1).reshape(len(values), -1, linearization.num_outputs)


def dimensions(name: str) -> tuple[str, ...]:
    """Dimensions of a quantity, without rounds."""
    if name == "consensus_distance":
        return ()
    if name == "coefficients":
        return (AGENT, "row", "column")
    if name.endswith(("outputs", "errors")):
        return (AGENT, "sample" if name.startswith("train") else "test_sample", "output")
    return (AGENT,)


def as_dataset(
    data: Linearization | LearningData, recorded: dict[str, Floats], leading: dict[str, Any], **attrs: Any
) -> xr.Dataset:
    """Quantities with one leading dimension, whose coordinates are `leading` (the first names it), as a data set."""
    num_agents = len(data.sizes)
    dimension = next(iter(leading))
    variables = {
        name: ((dimension, *dimensions(name)), values, {"long_name": _DESCRIPTIONS[name]})
        for name, values in recorded.items()
        if len(data.test_targets) or not name.startswith("test_")
    }
    coords = {name: (dimension, np.asarray(values)) for name, values in leading.items()}
    coords[AGENT] = (AGENT, np.arange(num_agents))
    if {"train_outputs", "train_errors"} & set(variables):
        coords["held_by"] = ("sample", np.repeat(np.arange(num_agents), data.sizes))
    return xr.Dataset(variables, coords, attrs)
