"""From coefficients back to parameters: θ_q = θ⁰ + Jᵀa_q + Σ_k c_qk u_k."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.models import Model, as_model
from consilience.theory.peer_to_peer.arguments import Floats
from consilience.theory.peer_to_peer.kernels.jacobians import batch_size
from consilience.theory.peer_to_peer.linearization import Linearization, Origin


def parameters(linearization: Linearization, coefficients: Any) -> Any:
    """The parameters of agents whose coefficients are known; those of the linearised network, in double precision.

    Coefficients are unique only up to combinations of the rows of J that vanish; parameters are unique.

    Args:
        linearization: network and data.
        coefficients: as `predict(..., keep=("coefficients",))` gives them, shape (..., rows + directions, 1), the
            leading dimensions being (round, agent), (agent,) or any others.

    Returns:
        A pytree like the network's parameters, its leaves (..., *shape) float64 arrays.

    Raises:
        InvalidSpec: for a network of infinite width.
        IncompatiblePair: for coefficients of another linearisation.

    Example:
        >>> import jax, numpy as np
        >>> from consilience import graphs, models
        >>> from consilience.theory import peer_to_peer
        >>> model = models.ntk_mlp(depth=1, width=64)
        >>> params = model.init(jax.random.key(0), (3,), 1)
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))        # 4 agents, 5 samples each
        >>> network = peer_to_peer.linearize(model, params, x, x[..., :1])
        >>> run = peer_to_peer.trajectory(network, graphs.uniform(4), learning_rate=0.1, num_rounds=10,
        ...                               keep=("coefficients",))
        >>> trained = parameters(network, run.coefficients[-1])
        >>> trained["layer_0"]["weight"].shape
        (4, 64, 3)
    """
    import jax

    lin, origin = linearization, linearization.origin
    if origin is None:
        raise InvalidSpec(
            "A network of infinite width has infinitely many parameters, each of which moves by nothing. Linearise a "
            "network of finite width, models.ntk_mlp(depth, width), to get parameters; coefficients, outputs and "
            "losses are there for both."
        )
    given = np.asarray(coefficients, np.float64)
    if given.ndim < 2 or given.shape[-2:] != (len(lin.gram), 1):
        raise IncompatiblePair(
            f"coefficients has shape {given.shape}, but this linearisation has {lin.num_rows} rows and "
            f"{lin.num_directions} directions, so that (..., {len(lin.gram)}, 1) is needed. Take those of "
            "predict(..., keep=('coefficients',)) or trajectory with the same linearisation."
        )
    flat = given.reshape(-1, len(lin.gram))
    moved = _moved(origin, flat[:, : lin.num_rows], lin.num_outputs)

    def assemble(start: Any, direction: Any, change: Floats) -> Floats:
        along = np.tensordot(flat[:, lin.num_rows :], np.asarray(direction, np.float64), axes=1)
        return (np.asarray(start, np.float64) + along + change).reshape(*given.shape[:-2], *np.shape(start))

    return jax.tree.map(assemble, origin.params, origin.directions, moved)


def _moved(origin: Origin, a: Floats, num_outputs: int) -> Any:
    """Jᵀa for several a, shape (several, rows): products with Jᵀ, some samples at a time."""
    import jax
    import jax.numpy as jnp

    leaves, structure = jax.tree.flatten(origin.params)
    totals = [np.zeros((len(a), *np.shape(leaf))) for leaf in leaves]
    by_sample = a.reshape(len(a), -1, num_outputs)
    batch = batch_size(by_sample.shape[1])
    with jax.enable_x64(True):
        params = jax.tree.unflatten(structure, [jnp.asarray(leaf, jnp.float64) for leaf in leaves])
        product = _product(as_model(origin.model))
        for first in range(0, by_sample.shape[1], batch):
            inputs, errors = origin.inputs[first : first + batch], by_sample[:, first : first + batch]
            missing = batch - len(inputs)  # filled up, so that one compilation serves all
            inputs = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)])
            errors = np.pad(errors, ((0, 0), (0, missing), (0, 0)))
            for index, error in enumerate(errors):
                for total, part in zip(totals, jax.tree.leaves(product(params, inputs, error)), strict=True):
                    total[index] += np.asarray(part)
    return jax.tree.unflatten(structure, totals)


def _product(model: Model) -> Callable[..., Any]:
    import jax

    try:
        return _remembered(model)
    except TypeError:  # unhashable: an equinox module that holds arrays
        return jax.jit(functools.partial(_pull_back, model))


@functools.lru_cache(maxsize=16)
def _remembered(model: Model) -> Callable[..., Any]:
    import jax

    return jax.jit(functools.partial(_pull_back, model))


def _pull_back(model: Model, params: Any, inputs: Any, errors: Any) -> Any:
    """The gradient with respect to the parameters of Σ errors · outputs."""
    import jax

    _, transposed = jax.vjp(lambda p: model.apply(p, inputs), params)
    return transposed(errors)[0]
