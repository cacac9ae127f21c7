"""Matched averaging: hidden units are paired by what they compute before networks are averaged.

A hidden unit has no name: two networks that learned the same may hold their units in another order, and their plain
mean then destroys both. Here every network is a chain of layers {"weight": (units, inputs), "bias": (units,)}, as the
networks of `cs.models` are: "layer_0" … of an `mlp`, "conv_0" … and "readout" of a `cnn`. What a layer reads, it reads
as (places, units of the layer below), units last: one place in a dense network, k·k in a convolution, height·width
where an image is flattened. So units, channels and flattened channels are all permuted in the same way.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from consilience.algorithms.algorithm import Context, Inbox, Local, Message, State
from consilience.algorithms.parameters_as_state import LocalSteps, ParametersAsState
from consilience.errors import InvalidSpec

if TYPE_CHECKING:
    from consilience.models import Params

Permutations = tuple[jax.Array, ...]
"""One permutation per hidden layer, each of shape (units,)."""


@jax.jit  # or the loops of the assignment would be compiled anew in each call
def match_units(network: Params, reference: Params) -> Permutations:
    """Which unit of `network` plays the role of each unit of `reference`, layer by layer.

    Two units are alike if their incoming weights and biases are, and in the last hidden layer their outgoing weights
    too, since outputs mean the same to everybody. Each layer's units are paired one to one such that the sum of squared
    distances is least (Hungarian assignment); what the layer reads is first put into the order of the layer below.

    Args:
        network: a chain of layers.
        reference: a chain of layers of the same shapes.

    Returns:
        One array of shape (units,) per hidden layer: entry k is the unit of `network` that goes with unit k of
        `reference`. Where numbers are not finite, any pairing may come back.

    Raises:
        InvalidSpec: if the parameters are no chain of layers.

    Example:
        >>> import jax
        >>> from consilience import models
        >>> network = models.mlp(depth=2, width=3).init(jax.random.key(0), (4,), 2)
        >>> shuffled = permute_units(network, (jax.numpy.array([2, 0, 1]), jax.numpy.array([1, 0, 2])))
        >>> [units.tolist() for units in match_units(shuffled, network)]
        [[1, 2, 0], [1, 0, 2]]
    """
    ours, theirs = _layers(network), _layers(reference)
    permutations: list[jax.Array] = []
    for depth, (own, other) in enumerate(zip(ours[:-1], theirs[:-1], strict=True)):
        weight = _reorder_inputs(own["weight"], permutations[-1]) if permutations else own["weight"]
        # With equally many units the lengths of all vectors are summed in any pairing: only products distinguish them.
        likeness = other["weight"] @ weight.T + jnp.outer(other["bias"], own["bias"])
        if depth == len(ours) - 2:
            likeness += _outgoing(theirs[-1], len(likeness)) @ _outgoing(ours[-1], len(likeness)).T
        permutations.append(_assign(likeness))
    return tuple(permutations)


def permute_units(network: Params, permutations: Sequence[jax.Array]) -> Params:
    """The same function with its hidden units in another order.

    Args:
        network: a chain of layers.
        permutations: one array of shape (units,) per hidden layer: entry k is the unit that becomes unit k.

    Returns:
        Parameters of the same shapes.

    Raises:
        InvalidSpec: if the parameters are no chain of layers, or there is not one permutation per hidden layer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consilience import models
        >>> model, images = models.cnn((2, 3)), jnp.ones((1, 28, 28))
        >>> network = model.init(jax.random.key(0), (28, 28), 10)
        >>> same = permute_units(network, (jnp.array([1, 0]), jnp.array([2, 0, 1])))
        >>> bool(jnp.allclose(model.apply(same, images), model.apply(network, images), atol=1e-5))
        True
    """
    names = _layer_names(network)
    if len(permutations) != len(names) - 1:
        raise InvalidSpec(
            f"{len(permutations)} permutations do not fit a network with {len(names) - 1} hidden layers, each of which "
            "has an order of its own. Give one array of unit indices per hidden layer, from the first on."
        )
    if names == [""]:
        return network
    permuted = {}
    for depth, name in enumerate(names):
        weight, bias = network[name]["weight"], network[name]["bias"]
        if depth > 0:
            weight = _reorder_inputs(weight, permutations[depth - 1])
        if depth < len(permutations):
            weight, bias = weight[permutations[depth]], bias[permutations[depth]]
        permuted[name] = {"weight": weight, "bias": bias}
    return permuted


@jax.jit
def matched_average(networks: Params, weights: jax.Array) -> Params:
    """The weighted mean of networks whose units are first matched to those of the first one that has any weight.

    Args:
        networks: leaves (networks, ...).
        weights: shape (networks,), not negative; only their ratios matter. At weight 0 anything may stand.

    Returns:
        One network; all NaN if no network has any weight.

    Raises:
        InvalidSpec: if the parameters are no chain of layers.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from consilience import models
        >>> network = models.mlp(depth=1, width=3).init(jax.random.key(0), (4,), 2)
        >>> shuffled = permute_units(network, (jnp.array([2, 0, 1]),))
        >>> both = jax.tree.map(lambda *leaves: jnp.stack(leaves), network, shuffled)
        >>> mean = matched_average(both, jnp.array([0.5, 0.5]))
        >>> all(bool((mean["layer_0"][leaf] == network["layer_0"][leaf]).all()) for leaf in ("weight", "bias"))
        True
    """
    reference = jax.tree.map(lambda leaf: leaf[jnp.argmax(weights > 0)], networks)
    matched = jax.vmap(lambda network: permute_units(network, match_units(network, reference)))(networks)

    def mean(leaf: jax.Array) -> jax.Array:
        # A network of weight 0 may hold NaN, and NaN times 0 is NaN.
        counts = (weights > 0).reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.tensordot(weights.astype(leaf.dtype), jnp.where(counts, leaf, 0), axes=1) / weights.sum()

    return jax.tree.map(mean, matched)


class MatchedAveraging(ParametersAsState, LocalSteps):
    """FedMA in its simple form: federated averaging of networks whose hidden units are matched before the mean.

    The server is implicit: every agent does its work, with the same numbers in the same order, and so all of them hold
    the same global model. Units are matched to those of the active agent with the lowest index.

    Update rule:
        θ ← Σ_{i active} n_i P_i θ_i / Σ_{i active} n_i,  θ_i = `local_steps` SGD steps from θ on agent i's shard, and
        P_i, layer by layer, the permutation of the layer's units that minimises Σ_k ‖u_k(P_i θ_i) − u_k(θ_r)‖², with r
        the first active agent and u_k the incoming weights and the bias of unit k, in the last hidden layer also its
        outgoing weights
    Reduces to:
        `FederatedAveraging` for networks without hidden layers; `FederatedAveraging` as long as units are matched
        already, as they are few steps after a common start; one of the networks if all are permutations of each other;
        SGD at N = 1.
    Cost:
        one model up and one down per active agent and round; `local_steps` gradients; N assignments of O(width³) per
        hidden layer for the server. In simulation every agent does the server's work, and N² models are in memory.
    Assumes:
        the complete graph (a server that hears everybody); networks of equal shape that are chains of layers, as those
        of `cs.models.mlp`, `ntk_mlp` and `cnn` are; agents may start from different parameters.
    Known limits:
        FedMA adds units that match nothing, and trains layer after layer; here widths stay, and one assignment per
        round does all layers. Units that learned different things are averaged nevertheless: the mean of few agents
        with different classes is poor. After the first round all agents start from one model, whose units stay matched
        unless local learning goes far.
    Source:
        H. Wang, M. Yurochkin, Y. Sun, D. Papailiopoulos and Y. Khazaeni, Federated learning with matched averaging,
        ICLR 2020, Algorithm 1 [wang2020], with the squared distance in place of its Bayesian cost.

    Attributes:
        learning_rate: η > 0, per local step.
        weight_decay: γ ≥ 0 of γ‖θ‖²; its gradient is 2γθ.
        local_steps: steps between two averages.
        optimiser: turns gradients into directions, plain SGD by default; it starts anew in every round.

    Example:
        >>> MatchedAveraging(learning_rate=0.1, local_steps=10).num_local_steps
        10
    """

    requires = ("complete",)
    manages_absence = True
    has_implied_server = True
    reads_mixing = False

    def emit(self, state: State, local: Local, context: Context) -> tuple[State, Message]:
        """Learn from the global model; send what was learned, and n_i or, when not active, 0."""
        # An optimiser that remembered would have to be permuted too; it starts anew with the global model.
        learned, _ = self.learn(state, self.optimiser.init(state), local)
        kept = jax.tree.map(lambda new, old: jnp.where(context.active, new, old), learned, state)
        return kept, (kept, jnp.where(context.active, context.shard_weight, 0))

    def absorb(self, state: State, inbox: Inbox, local: Local, context: Context) -> State:
        """The matched average of those who took part, or the old model if nobody did."""
        received, weights = inbox.messages
        # In the order of the agents, so that all of them sum alike and end with the same model.
        everybody = jax.tree.map(
            lambda own, others: (
                jnp.zeros((context.num_agents, *own.shape), own.dtype).at[inbox.senders].set(others)
                .at[context.agent].set(own)
            ),
            (state, jnp.where(context.active, context.shard_weight, 0)),
            (received, jnp.where(inbox.mask, weights, 0)),
        )  # fmt: skip
        return jax.tree.map(
            lambda mean, old: jnp.where(everybody[1].any(), mean, old), matched_average(*everybody), state
        )


def _assign(likeness: jax.Array) -> jax.Array:
    """The pairing of rows with columns, shape (rows,), whose likenesses have the largest sum."""
    from optax.assignment import hungarian_algorithm

    # The assignment would never end on NaN, which a run that diverges brings; and potentials must not overflow.
    relative = likeness / jnp.abs(likeness).max()
    columns_of, order = hungarian_algorithm(-jnp.where(jnp.isfinite(relative), relative, 0))
    return jnp.zeros(len(likeness), order.dtype).at[columns_of].set(order)


def _reorder_inputs(weight: jax.Array, permutation: jax.Array) -> jax.Array:
    """A layer's weights when the units below it are put into another order."""
    places = weight.reshape(weight.shape[0], -1, len(permutation))
    return places[:, :, permutation].reshape(weight.shape)


def _outgoing(readout: dict[str, jax.Array], num_units: int) -> jax.Array:
    """What each unit sends to the outputs, shape (units, outputs · places)."""
    weight = readout["weight"]
    return weight.reshape(-1, num_units).T


def _layers(params: Params) -> list[dict[str, jax.Array]]:
    """The layers from the first to the readout."""
    return [params if name == "" else params[name] for name in _layer_names(params)]


def _layer_names(params: Params) -> list[str]:
    """The names of the layers from the first to the readout; [""] if the parameters are one layer themselves.

    Raises:
        InvalidSpec: if the parameters are no chain of layers.
    """
    if _is_layer(params):
        return [""]
    if isinstance(params, dict) and params and all(_is_layer(layer) for layer in params.values()):
        # Numbers are compared as numbers: layer_10 comes after layer_2. A readout has none, and comes last.
        numbered = {name: re.fullmatch(r"[a-z]+_(\d+)", name) for name in params}
        names = sorted(params, key=lambda name: int(found[1]) if (found := numbered[name]) else len(params))
        widths = [params[name]["weight"].shape for name in names]
        if all(above[1] % below[0] == 0 for below, above in itertools.pairwise(widths)):
            return names
    seen = [f"{jax.tree_util.keystr(path)} {leaf.shape}" for path, leaf in jax.tree_util.tree_leaves_with_path(params)]
    raise InvalidSpec(
        f"Parameters {', '.join(seen)} are no chain of layers, so nobody can say which numbers belong to one hidden "
        'unit. Use cs.models.mlp, ntk_mlp or cnn, or parameters {"layer_0": {"weight": (units, inputs), "bias": '
        '(units,)}, "layer_1": ...} whose layers read each other.'
    )


def _is_layer(params: Params) -> bool:
    return isinstance(params, dict) and set(params) == {"weight", "bias"} and params["weight"].ndim == 2
