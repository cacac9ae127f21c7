"""A network and the agents' data, linearised at the common initialisation and seen through inner products.

Near θ⁰ a wide network is linear in its parameters, f(x, θ) ≈ f(x, θ⁰) + J(x)(θ − θ⁰). Gradients lie in the span of the
training Jacobians, so from a common start every deviation is θ_q − θ⁰ = Jᵀa_q + Σ_k c_qk u_k with few further
directions u_k: θ⁰ itself, along which weight decay pulls, and the offsets at which agents start. Everything that can be
measured follows from the inner products of the rows of J and the u_k: the empirical neural tangent kernel, bordered.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.models import as_model, parameter_shapes
from consilience.theory.peer_to_peer.arguments import Floats, LearningData, learning_data
from consilience.theory.peer_to_peer.kernels.infinite_width import InfiniteWidthKernel
from consilience.theory.peer_to_peer.kernels.jacobians import double_params, outputs_and_products, samples
from consilience.theory.peer_to_peer.kernels.kernel import check_fits, kernel

LARGEST_NONLINEARITY = 0.1
"""Share of what an offset does to the outputs that the linearised model may miss."""
_BATCH = 2048
"""Samples evaluated at a time."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where a network was linearised: what is needed to turn coefficients back into parameters.

    Attributes:
        model: the network.
        params: θ⁰.
        inputs: the training inputs of all agents, shape (samples, ...).
        directions: the unit vectors u_k, a pytree of leaves with a leading axis of directions.
    """

    model: Any
    params: Any
    inputs: NDArray[Any]
    directions: Any


@dataclass(frozen=True, eq=False, repr=False)
class Linearization:
    """All that a prediction needs to know of the network and the data. Built by `linearize`.

    A *row* is a component of the training residuals, (sample, output), agents one after another; a *column* is an
    output where all outputs share one kernel (infinite width), and there is a single column where rows tell outputs
    apart. rows · columns = samples · outputs.

    Attributes:
        sizes: samples of each agent, n_q, shape (agents,).
        num_outputs: C.
        gram: inner products of the rows of J and the directions with the rows of J, the directions and the test rows,
            shape (rows + directions, rows + directions + test rows).
        outputs: f(X, θ⁰), shape (rows, columns).
        targets: y, shape (rows, columns).
        test_outputs: f(x, θ⁰) on the test inputs, shape (test rows, columns).
        test_targets: shape (test rows, columns).
        start: coefficients of the directions at round 0, shape (agents, directions).
        origin_norm: ‖θ⁰‖, which is the coefficient of the first direction in θ⁰; 0 without directions.
        origin: where it was linearised; None for a network of infinite width.
    """

    sizes: NDArray[np.int64]
    num_outputs: int
    gram: Floats
    outputs: Floats
    targets: Floats
    test_outputs: Floats
    test_targets: Floats
    start: Floats
    origin_norm: float
    origin: Origin | None

    def __repr__(self) -> str:
        return (
            f"Linearization({self.num_agents} agents, {self.sizes.sum()} samples, {self.num_outputs} outputs, "
            f"{self.num_directions} further directions, {len(self.test_targets)} test rows)"
        )

    @property
    def num_agents(self) -> int:
        """Q."""
        return len(self.sizes)

    @property
    def num_rows(self) -> int:
        """Components of the training residuals that the kernel tells apart."""
        return len(self.targets)

    @property
    def num_columns(self) -> int:
        """Outputs that share the kernel."""
        return self.targets.shape[1]

    @property
    def num_directions(self) -> int:
        """Directions beside the rows of J."""
        return self.start.shape[1]

    @property
    def rows_per_sample(self) -> int:
        """Outputs that the kernel tells apart."""
        return self.num_outputs // self.num_columns

    @cached_property
    def shards(self) -> tuple[slice, ...]:
        """The rows of each agent."""
        ends = (np.cumsum(self.sizes) * self.rows_per_sample).tolist()
        return tuple(slice(start, end) for start, end in itertools.pairwise([0, *ends]))

    @property
    def residuals(self) -> Floats:
        """r = f(X, θ⁰) − y, shape (rows, columns)."""
        return self.outputs - self.targets

    @property
    def kernel(self) -> Floats:
        """K = J Jᵀ of all training data, shape (rows, rows)."""
        return self.gram[: self.num_rows, : self.num_rows]

    @property
    def inner(self) -> Floats:
        """Inner products of the rows of J and the directions among themselves."""
        return self.gram[:, : len(self.gram)]

    @property
    def test_kernel(self) -> Floats:
        """Inner products of the test rows with the rows of J and the directions, (test rows, rows + directions)."""
        return self.gram[:, len(self.gram) :].T


def linearize(
    model: Any,
    params: Any,
    inputs: Any,
    targets: Any,
    *,
    test_inputs: Any = None,
    test_targets: Any = None,
    offsets: Any = None,
    max_memory: float = 8e9,
) -> Linearization:
    """Linearise a network at θ⁰ on the data of all agents. Graphs, rates and algorithms can then be tried at no cost.

    Args:
        model: a model of `cs.models`, an equinox module, or an `InfiniteWidthKernel`.
        params: θ⁰, one agent's parameters, from which all agents start; None for an infinite-width kernel.
        inputs: shape (agents, samples, ...), or one array (samples, ...) per agent.
        targets: shape (agents, samples, outputs), or one array (samples, outputs) per agent.
        test_inputs: common to all agents, shape (test samples, ...).
        test_targets: shape (test samples, outputs).
        offsets: θ_q(0) − θ⁰ of each agent, a pytree like `params` with a leading axis of agents; none by default.
        max_memory: bytes that the kernel may take.

    Returns:
        The linearisation.

    Raises:
        DataError: for data that cannot be.
        InvalidSpec: for a model that cannot be differentiated, for parameters of several agents, for a kernel that does
            not fit, for offsets so large that the linearised network misses more than a tenth of what they do to the
            outputs. Independent random initialisations are such offsets: their predictions would be off by 60–90 %.

    Example:
        >>> import jax, numpy as np
        >>> from consilience import models
        >>> model = models.ntk_mlp(depth=1, width=64)
        >>> params = model.init(jax.random.key(0), (3,), 1)
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))        # 4 agents, 5 samples each
        >>> linearize(model, params, x, x[..., :1])
        Linearization(4 agents, 20 samples, 1 outputs, 1 further directions, 0 test rows)

    Source:
        Paper 003; MATH: kernel-space form.
    """
    data = learning_data(inputs, targets, test_inputs, test_targets)
    if isinstance(model, InfiniteWidthKernel):
        return _infinitely_wide(model, params, data, offsets, max_memory)
    return _finite(as_model(model), params, data, offsets, max_memory)


def _infinitely_wide(
    model: InfiniteWidthKernel, params: Any, data: LearningData, offsets: Any, max_memory: float
) -> Linearization:
    if params is not None or offsets is not None:
        raise InvalidSpec(
            f"{model!r} was given with parameters or offsets, but a network of infinite width has none that could be "
            "listed. Write params=None and no offsets."
        )
    check_fits(len(data.inputs), len(data.inputs) + len(data.test_inputs), 1, max_memory)
    gram = model(data.inputs)
    if len(data.test_inputs):
        gram = np.concatenate([gram, model(data.inputs, data.test_inputs)], axis=1)
    return Linearization(
        sizes=data.sizes,
        num_outputs=data.targets.shape[1],
        gram=gram,
        outputs=np.zeros_like(data.targets),  # the mean over initialisations; each draws its own Gaussian process
        targets=data.targets,
        test_outputs=np.zeros_like(data.test_targets),
        test_targets=data.test_targets,
        start=np.zeros((len(data.sizes), 0)),
        origin_norm=0.0,
        origin=None,
    )


def _finite(model: Any, params: Any, data: LearningData, offsets: Any, max_memory: float) -> Linearization:
    import jax

    refuse_several(model, params, data)
    num_outputs = data.targets.shape[1]
    num_rows, num_test = len(data.inputs) * num_outputs, len(data.test_inputs) * num_outputs
    check_fits(len(data.inputs), len(data.inputs) + len(data.test_inputs), num_outputs, max_memory)
    directions, norms = _directions(params, offsets, len(data.sizes))
    outputs, border = outputs_and_products(model, params, data.inputs, directions)
    _check_outputs(model, outputs, num_outputs)
    border, test_outputs = border.reshape(num_rows, -1), np.empty((0, num_outputs))
    m = num_rows + len(norms)
    gram = np.empty((m, m + num_test))
    gram[:num_rows, :num_rows] = kernel(model, params, data.inputs, max_memory=max_memory).reshape(num_rows, num_rows)
    gram[:num_rows, num_rows:m], gram[num_rows:, :num_rows] = border, border.T
    flat = np.concatenate([np.reshape(leaf, (len(norms), -1)) for leaf in jax.tree.leaves(directions)], axis=1)
    gram[num_rows:, num_rows:m] = flat @ flat.T
    if num_test:
        cross = kernel(model, params, data.inputs, data.test_inputs, max_memory=max_memory)
        gram[:num_rows, m:] = cross.reshape(num_rows, num_test)
        test_outputs, border_of_test = outputs_and_products(model, params, data.test_inputs, directions)
        gram[num_rows:, m:] = border_of_test.reshape(num_test, -1).T
    start = np.zeros((len(data.sizes), len(norms)))
    if offsets is not None:
        np.fill_diagonal(start[:, 1:], norms[1:])
        check_offsets(model, params, offsets, data, outputs, border[:, 1:] * norms[1:])
    return Linearization(
        sizes=data.sizes,
        num_outputs=num_outputs,
        gram=gram,
        outputs=outputs.reshape(-1, 1),
        targets=data.targets.reshape(-1, 1),
        test_outputs=test_outputs.reshape(-1, 1),
        test_targets=data.test_targets.reshape(-1, 1),
        start=start,
        origin_norm=float(norms[0]),
        origin=Origin(model, params, data.inputs, directions),
    )


def outputs_at(model: Any, params: Any, inputs: NDArray[Any], num_outputs: int) -> Floats:
    """f(x, θ⁰) in double precision, shape (samples, outputs)."""
    import jax

    if len(inputs) == 0:
        return np.empty((0, num_outputs))
    batches = (inputs[start : start + _BATCH] for start in range(0, len(inputs), _BATCH))
    with jax.enable_x64(True):
        double = double_params(model, params)
        outputs = np.concatenate([np.asarray(model.apply(double, samples("inputs", batch))) for batch in batches])
    _check_outputs(model, outputs, num_outputs)
    return outputs


def _check_outputs(model: Any, outputs: Floats, num_outputs: int) -> None:
    if outputs.shape[1:] != (num_outputs,):
        raise IncompatiblePair(
            f"The model {model.name!r} turns an input into outputs of shape {outputs.shape[1:]}, but the targets have "
            f"{num_outputs} components. Give it as many outputs as there are targets: model.init(key, input_shape, "
            f"{num_outputs})."
        )


def refuse_several(model: Any, params: Any, data: LearningData) -> None:
    """Refuses one set of parameters per agent, with the reason."""
    import jax

    shapes = jax.tree.leaves(parameter_shapes(model, data.inputs.shape[1:], data.targets.shape[1]))
    seen = [np.shape(leaf) for leaf in jax.tree.leaves(params)]
    if seen == [(len(data.sizes), *leaf.shape) for leaf in shapes]:
        raise InvalidSpec(
            f"params holds {len(data.sizes)} sets of parameters, one per agent, of shapes {seen}. The network is "
            "linearised at one point, so all agents start from the same parameters; predictions for independent "
            "initialisations would be off by 60–90 %. Give one set, as model.init(key, input_shape, num_outputs) draws "
            "it, and small deviations from it as offsets=."
        )


def _directions(params: Any, offsets: Any, num_agents: int) -> tuple[Any, Floats]:
    """θ⁰ and the offsets as unit vectors, leaves (directions, ...), and their norms; a vector of norm 0 stays 0."""
    import jax

    leaves, structure = jax.tree.flatten(params)
    stacked = [np.asarray(leaf, np.float64)[None] for leaf in leaves]
    if offsets is not None:
        given = offset_leaves(params, offsets, num_agents)
        stacked = [np.concatenate(pair) for pair in zip(stacked, given, strict=True)]
    squares = np.sum([np.square(leaf.reshape(len(leaf), -1)).sum(axis=1) for leaf in stacked], axis=0)
    norms = np.sqrt(squares)
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    units = [leaf * inverse.reshape(-1, *[1] * (leaf.ndim - 1)) for leaf in stacked]
    return jax.tree.unflatten(structure, units), norms


def offset_leaves(params: Any, offsets: Any, num_agents: int) -> list[Floats]:
    """The leaves of `offsets`, shapes (agents, ...), in the order of those of `params`."""
    import jax

    leaves, structure = jax.tree.flatten(params)
    given, its_structure = jax.tree.flatten(offsets)
    expected, seen = [(num_agents, *np.shape(leaf)) for leaf in leaves], [np.shape(leaf) for leaf in given]
    if its_structure != structure or seen != expected:
        raise InvalidSpec(
            f"offsets has leaves of shapes {seen}, but with these parameters and {num_agents} agents they are "
            f"{expected}. Give θ_q(0) − θ⁰, a pytree like params with a leading axis of agents."
        )
    return [np.asarray(leaf, np.float64) for leaf in given]


def check_offsets(model: Any, params: Any, offsets: Any, data: LearningData, outputs: Floats, linear: Floats) -> None:
    """Refuse offsets that leave the region in which the network is linear; `linear` is J times each offset."""
    import jax

    scale = np.linalg.norm(outputs - data.targets)
    for agent in range(len(data.sizes)):
        offset = jax.tree.map(lambda leaf, agent=agent: np.asarray(leaf, np.float64)[agent], offsets)
        moved = jax.tree.map(lambda leaf, change: np.asarray(leaf, np.float64) + change, params, offset)
        change = outputs_at(model, moved, data.inputs, outputs.shape[1]) - outputs
        missed, size = np.linalg.norm(change.ravel() - linear[:, agent]), np.linalg.norm(change)
        if missed > LARGEST_NONLINEARITY * size + 1e-9 * scale:  # rounding of an offset that does nothing
            raise InvalidSpec(
                f"Agent {agent} starts so far from θ⁰ that the linearised network misses {missed / size:.0%} of what "
                f"the offset does to the outputs; {LARGEST_NONLINEARITY:.0%} are tolerated, for linear theory holds "
                "for a common initialisation and small offsets. Agents with independent random initialisations "
                "cannot be predicted this way (errors of 60–90 %): start all from the same parameters, or use smaller "
                "offsets or a wider network."
            )
