"""Predictions without a kernel: the linearised network where the kernel of all data does not fit.

With ten outputs the kernel of 10,000 samples has 10¹⁰ entries; products with the Jacobian have none (see
`parameter_rounds`). The rounds are those of the kernel form, exact for the linearised network.

A round evaluates every agent on its own data. Losses of every agent on everybody's data cost as many times more as
there are agents, and are computed at the recorded rounds only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from consilience.axes import ROUND
from consilience.graphs import MixingMatrix
from consilience.models import as_model
from consilience.theory.peer_to_peer.arguments import (
    Floats,
    LearningData,
    check_algorithm,
    check_count,
    check_keep,
    check_rate,
    mixing_by_round,
)
from consilience.theory.peer_to_peer.kernels.jacobians import jacobian, jacobian_products
from consilience.theory.peer_to_peer.linearization import check_offsets, offset_leaves, outputs_at, refuse_several
from consilience.theory.peer_to_peer.parameter_rounds import Shards, advance, consensus_distance, output_changes
from consilience.theory.peer_to_peer.quantities import as_dataset

KEEP = ("outputs", "errors")
"""What can be kept beside losses and consensus distance: without a kernel there are no coefficients."""
SCHEDULED = 64
"""Mixing matrices of a schedule that are held at a time."""
COPIES = 4
"""Populations that a round holds: before, mixed, the gradients, after."""


def kernel_bytes(data: LearningData, *, shared: bool = False) -> int:
    """What the kernel between training data and all data takes; `shared` by all outputs (infinite width) or not.

    Example:
        >>> import numpy as np
        >>> from consilience.theory.peer_to_peer.arguments import learning_data
        >>> kernel_bytes(learning_data(np.zeros((100, 100, 784)), np.zeros((100, 100, 10))))
        80000000000
    """
    outputs = 1 if shared else data.targets.shape[1]
    return 8 * outputs**2 * len(data.inputs) * (len(data.inputs) + len(data.test_inputs))


def matrix_free_bytes(params: Any, data: LearningData) -> int:
    """What `matrix_free_trajectory` holds of the agents' parameters; data and the network's activations come on top."""
    import jax

    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    return COPIES * len(data.sizes) * numbers * _precision(params).itemsize


def rounds_per_record(data: LearningData) -> int:
    """After how many rounds losses are recorded unless told otherwise: recording then costs about what rounds cost.

    Operations per parameter: 2 for each of Q agents and each sample, against 4 in a round for each training sample (J
    and Jᵀ of the agent that holds it) and 2 Q² for mixing.
    """
    num_agents, num_samples = len(data.sizes), len(data.inputs)
    recording = 2 * num_agents * (num_samples + len(data.test_inputs))
    return math.ceil(recording / (4 * num_agents * int(data.sizes.max()) + 2 * num_agents**2))


def matrix_free_trajectory(
    model: Any,
    params: Any,
    data: LearningData,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    num_rounds: int,
    weight_decay: float = 0.0,
    offsets: Any = None,
    record_every: int | None = None,
    keep: Sequence[str] = (),
) -> xr.Dataset:
    """What `predict` predicts, by products with the Jacobian: for data whose kernel does not fit.

    Memory: `matrix_free_bytes`, the data with all shards padded to the largest, and what the network computes for them
    on the way to its outputs. Precision: that of `params`.

    Args:
        model: a model of `cs.models` or an equinox module.
        params: θ⁰, one agent's parameters, from which all agents start.
        data: of all agents, see `learning_data`.
        mixing: W, or a schedule of them.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        num_rounds: rounds to predict.
        weight_decay: γ ≥ 0 of γ‖θ‖².
        offsets: θ_q(0) − θ⁰ of each agent, a pytree like `params` with a leading axis of agents.
        record_every: rounds between two records; by default so many that recording costs what the rounds do, see
            `rounds_per_record`. The first and the last round are always recorded.
        keep: "outputs" and "errors" of every agent on all training and test data.

    Returns:
        The data set of `predict`.

    Raises:
        InvalidSpec: for values that cannot be, and for offsets that are too large; see `linearize`.
        IncompatiblePair: for mixing matrices of another size, and for a model that does not fit the data.
        UnknownName: for an algorithm or something to keep that does not exist.

    Example:
        >>> import jax, numpy as np
        >>> from consilience import graphs, models
        >>> from consilience.theory.peer_to_peer.arguments import learning_data
        >>> model = models.ntk_mlp(depth=1, width=64)
        >>> params = model.init(jax.random.key(0), (3,), 1)
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))        # 4 agents, 5 samples each
        >>> run = matrix_free_trajectory(model, params, learning_data(x, x[..., :1]), graphs.uniform(4),
        ...                              learning_rate=0.1, num_rounds=100, record_every=20)
        >>> run.train_loss.shape, bool((run.train_loss[-1] < run.train_loss[0]).all())
        ((6, 4), True)

    Source:
        Paper 003; MATH: discrete, exact, in parameter space.
    """
    import jax

    check_algorithm(algorithm)
    rate = check_rate("learning_rate", learning_rate, positive=True)
    decay = check_rate("weight_decay", weight_decay)
    count = check_count("num_rounds", num_rounds)
    every = rounds_per_record(data) if record_every is None else check_count("record_every", record_every, least=1)
    kept = check_keep(keep, KEEP)
    rounds = np.append(np.arange(0, count, every), count)
    matrices = _Matrices(mixing, mixing_by_round(mixing, len(data.sizes)), every)
    network = _network(model, params, data)
    rates = {"algorithm": algorithm, "learning_rate": rate, "weight_decay": decay}
    with jax.enable_x64(network.precision == np.float64):
        states = _states(network, _start(network, offsets), matrices, rounds, **rates)
        with np.errstate(over="ignore", invalid="ignore"):  # beyond the stability limit losses grow without bound
            records = [_measure(network, state, kept) for state in states]
    recorded = {name: np.stack([record[name] for record in records]) for name in records[0]}
    leading = {ROUND: rounds, "time": rate * rounds}
    method = f"matrix-free, repeated rounds in {network.precision.name}"
    return as_dataset(data, recorded, leading, **rates, time="rounds", method=method)


@dataclass(frozen=True, eq=False)
class _Network:
    """A network and its data; `params` are of the precision of the computation, outputs at θ⁰ are float64."""

    model: Any
    params: Any
    data: LearningData
    precision: np.dtype[Any]
    outputs: Floats
    test_outputs: Floats

    def predicted(self, deviations: Any) -> tuple[Floats, Floats]:
        """Outputs of every agent on all training and all test data, shape (agents, samples, outputs)."""
        num_outputs, inputs = self.outputs.shape[1], (self.data.inputs, self.data.test_inputs)
        train, test = (output_changes(self.model, self.params, deviations, x, num_outputs) for x in inputs)
        return train + self.outputs, test + self.test_outputs


@dataclass(frozen=True, eq=False)
class _Matrices:
    """W of some rounds at a time, in stacks of one shape: (rounds, agents, agents)."""

    mixing: Any
    at: Callable[[int], Floats]
    every: int

    def between(self, start: int, stop: int) -> Iterator[tuple[int, Floats]]:
        """Counts of rounds, and W of each of them; a single W if all are the same."""
        if isinstance(self.mixing, MixingMatrix) or not callable(self.mixing):
            yield stop - start, self.at(start)[None]
            return
        length = min(self.every, SCHEDULED)
        for first in range(start, stop, length):
            count = min(length, stop - first)
            yield count, np.stack([self.at(first + min(k, count - 1)) for k in range(length)])


def _network(model: Any, params: Any, data: LearningData) -> _Network:
    """The network, checked and evaluated at θ⁰."""
    import jax
    import jax.numpy as jnp

    model, num_outputs, precision = as_model(model), data.targets.shape[1], _precision(params)
    refuse_several(model, params, data)
    with jax.enable_x64(True):
        jacobian(model, params, data.inputs[:1])  # says what is wrong with a model that has no derivatives
    outputs, test_outputs = (outputs_at(model, params, x, num_outputs) for x in (data.inputs, data.test_inputs))
    with jax.enable_x64(precision == np.float64):
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), params)
    return _Network(model, params, data, precision, outputs, test_outputs)


def _precision(params: Any) -> np.dtype[Any]:
    """Double if all parameters are."""
    import jax

    is_double = all(np.asarray(leaf).dtype == np.float64 for leaf in jax.tree.leaves(params))
    return np.dtype(np.float64 if is_double else np.float32)


def _start(network: _Network, offsets: Any) -> Any:
    """ϑ(0), leaves (agents, ...)."""
    import jax
    import jax.numpy as jnp

    leaves, structure = jax.tree.flatten(network.params)
    num_agents = len(network.data.sizes)
    if offsets is None:
        return jax.tree.unflatten(structure, [jnp.zeros((num_agents, *leaf.shape), leaf.dtype) for leaf in leaves])
    given = offset_leaves(network.params, offsets, num_agents)
    changes = jacobian_products(network.model, network.params, network.data.inputs, offsets).reshape(-1, num_agents)
    check_offsets(network.model, network.params, offsets, network.data, network.outputs, changes)
    return jax.tree.unflatten(structure, [jnp.array(leaf, network.precision) for leaf in given])


def _states(
    network: _Network, deviations: Any, matrices: _Matrices, rounds: NDArray[np.int64], **rates: Any
) -> Iterator[Any]:
    """The deviations after the given rounds; each is gone once the next is asked for."""
    shards = Shards.of(network.data, network.outputs, network.precision)
    yield deviations
    for start, stop in zip(rounds[:-1].tolist(), rounds[1:].tolist(), strict=True):
        for count, weights in matrices.between(start, stop):
            deviations = advance(network.model, network.params, deviations, shards, weights, count=count, **rates)
        yield deviations


def _measure(network: _Network, deviations: Any, keep: tuple[str, ...]) -> dict[str, Floats]:
    """All quantities of a state."""
    data, (train, test) = network.data, network.predicted(deviations)
    squares = np.square(train - data.targets).sum(axis=-1)
    by_shard = np.add.reduceat(squares, np.cumsum(data.sizes) - data.sizes, axis=1) / (2 * data.sizes)
    found = {
        "train_loss": np.diagonal(by_shard).copy(),
        "objective": by_shard.mean(axis=1),
        "test_loss": np.square(test - data.test_targets).sum(axis=(1, 2)) / (2 * max(test.shape[1], 1)),
        "consensus_distance": np.array(consensus_distance(deviations)),
    }
    if "outputs" in keep:
        found |= {"train_outputs": train, "test_outputs": test}
    if "errors" in keep:
        found |= {"train_errors": train - data.targets, "test_errors": test - data.test_targets}
    return found
