"""Where training with mini-batches settles, and up to which learning rate.

The expected loss stays finite while the *noise gain* is below 1 (`feedback`). The learning rate is limited at
least as much as with full batches. Agents that interpolate all data make no errors that batches could disagree about:
below the limit their noise dies out with their errors.

Single runs may still converge where second moments diverge: the mean square of a product of random matrices is governed
by rare, large excursions. The criterion is sharp for the expected loss, and sufficient for a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import check_keep
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates
from consilience.theory.peer_to_peer.dynamics import Dynamics, dynamics
from consilience.theory.peer_to_peer.fixed_point import fixed_point
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.noise.feedback import feedback, gain, stationary_covariance
from consilience.theory.peer_to_peer.noise.moments import KEEP, moments_dataset, record, sample_errors
from consilience.theory.peer_to_peer.noise.sampling import Sampling, sampling
from consilience.theory.peer_to_peer.rounds import State

_RATE_TOLERANCE = 1e-5
"""Relative error of the largest learning rate."""


def noise_gain(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    batch_size: int,
    weight_decay: float = 0.0,
    replacement: bool = False,
) -> float:
    """How much noise the noise causes: the expected loss of training with mini-batches stays finite below 1.

    For shards of equal size it is proportional to the factor κ of `sampling`: one value tells those of all batch sizes.

    Args:
        linearization: network and data, from `linearize`.
        mixing: W, a mixing matrix or an array (agents, agents) whose rows sum to one.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        batch_size: B, samples per batch of every agent.
        weight_decay: γ ≥ 0.
        replacement: whether the samples of a batch are drawn independently.

    Returns:
        ρ(𝓖𝓝) ≥ 0: 0 for full batches; infinite where full batches diverge.

    Raises:
        InvalidSpec: for values that cannot be; if agents × rank is above `feedback.LARGEST`.
        IncompatiblePair: for mixing matrices of another size, or whose rows do not sum to one.

    Example:
        >>> import numpy as np
        >>> from consilience.theory import peer_to_peer
        >>> x = np.array([[[1.0, 0.0], [0.0, 1.0]]])                    # one agent, two orthogonal samples
        >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 4.0, 0.0)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> [round(noise_gain(network, [[1.0]], learning_rate=rate, batch_size=1), 3) for rate in (0.5, 1.0, 2.5)]
        [0.333, 1.0, inf]

    Source:
        Regular splittings of positive operators (Schneider, 1965), for the second moments of `sampling`.
    """
    of = dynamics(linearization, mixing, algorithm=algorithm, learning_rate=learning_rate, weight_decay=weight_decay)
    coords = coordinates(linearization, weight_decay=of.weight_decay)
    return gain(feedback(of, coords, _batches(of, coords, batch_size, replacement)))


def largest_minibatch_rate(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    batch_size: int,
    weight_decay: float = 0.0,
    replacement: bool = False,
) -> float:
    """The learning rate at which the noise gain reaches 1: above, the expected loss diverges.

    Args, Raises: those of `noise_gain`.

    Returns:
        η, to a relative error of 1e-5; that of full batches if every batch is a whole shard; 0 if no rate is stable.

    Example:
        >>> import numpy as np
        >>> from consilience.theory import peer_to_peer
        >>> x = np.array([[[1.0, 0.0], [0.0, 1.0]]])                    # one agent, two orthogonal samples
        >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 4.0, 0.0)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> [round(largest_minibatch_rate(network, [[1.0]], batch_size=size), 3) for size in (1, 2)]
        [1.0, 2.0]
    """
    coords = coordinates(linearization, weight_decay=weight_decay)

    def gain_at(rate: float) -> float:
        of = dynamics(linearization, mixing, algorithm=algorithm, learning_rate=rate, weight_decay=weight_decay)
        return gain(feedback(of, coords, _batches(of, coords, batch_size, replacement)))

    curvature = max(np.linalg.eigvalsh(coords.curvature(agent))[-1] for agent in range(linearization.num_agents))
    return _crossing(gain_at, 1 / (curvature + 2 * weight_decay))


def stationary_moments(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    batch_size: int,
    weight_decay: float = 0.0,
    replacement: bool = False,
    keep: Sequence[str] = (),
) -> xr.Dataset:
    """`minibatch_moments` after infinitely many rounds: the losses around which training with mini-batches fluctuates.

    Args: those of `minibatch_moments`, for one mixing matrix.

    Returns:
        Its data set without the dimension "round"; the noise gain is in `attrs`.

    Raises:
        InvalidSpec: for values that cannot be; if mean or variance do not converge, with the reason; if agents × rank
            is above `feedback.LARGEST`.
        IncompatiblePair: for mixing matrices of another size, or whose rows do not sum to one.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))         # 20 samples, and 3 weights for them
        >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 3.0, 0.0)
        >>> network = peer_to_peer.linearize(kernel, None, x, np.abs(x[..., :1]))
        >>> graph = graphs.metropolis(graphs.cycle(4))
        >>> ends = [stationary_moments(network, graph, learning_rate=rate, batch_size=1) for rate in (0.02, 0.01)]
        >>> ratio = ends[0].objective_excess.mean() / ends[1].objective_excess.mean()
        >>> bool(1.9 < ratio < 2.3)                                     # noise in proportion to the learning rate
        True
    """
    of = dynamics(linearization, mixing, algorithm=algorithm, learning_rate=learning_rate, weight_decay=weight_decay)
    kept = check_keep(keep, KEEP)
    coords = coordinates(linearization, weight_decay=of.weight_decay)
    batches = _batches(of, coords, batch_size, replacement)
    noise = feedback(of, coords, batches)
    causes = gain(noise)
    _check_settles(of, causes)
    state = _end(of)
    at = state.mixed(of.mixing.weights[None]) if algorithm == "cta" else state
    covariance = stationary_covariance(noise, sample_errors(linearization, at))
    recorded = {name: values[None] for name, values in record(coords, batches, state, covariance, kept).items()}
    attrs = {"batch_size": batch_size, "replacement": int(replacement), "noise_gain": causes, "method": "fixed point"}
    return moments_dataset(coords, recorded, {"limit": np.array([0])}, **of.attrs, **attrs).isel(limit=0, drop=True)


def _batches(of: Dynamics, coords: Coordinates, batch_size: int, replacement: bool) -> Sampling:
    return sampling(
        coords,
        algorithm=of.algorithm,
        learning_rate=of.learning_rate,
        batch_size=batch_size,
        weight_decay=of.weight_decay,
        replacement=replacement,
    )


def _crossing(gain_at: Callable[[float], float], rate: float) -> float:
    """The rate at which a gain that grows from 0 reaches 1, from a guess."""

    def margin(log_rate: float) -> float:  # from 1 at gain 0 to −1 at gain ∞
        return 2 / (1 + gain_at(math.exp(log_rate))) - 1

    low = high = math.log(rate)
    while margin(low) <= 0:
        low, high = low - math.log(2), low
        if low < math.log(rate) - 40:
            return 0.0
    while margin(high) > 0:
        low, high = high, high + math.log(2)
    solve: Any = scipy.optimize.brentq  # annotated with what full_output would return
    return math.exp(solve(margin, low, high, xtol=_RATE_TOLERANCE))


def _check_settles(of: Dynamics, gain: float) -> None:
    if gain >= 1:
        reason = "full batches diverge already" if math.isinf(gain) else f"noise causes {gain:.3g} times its own size"
        raise InvalidSpec(
            f"learning_rate={of.learning_rate:g}: the variance of training with mini-batches grows without bound "
            f"({reason}), and there is no stationary state. Use a smaller rate, below largest_minibatch_rate(...), "
            "or larger batches."
        )


def _end(of: Dynamics) -> State:
    """The fixed point of the mean."""
    lin = of.linearization
    end = fixed_point(
        lin,
        of.mixing,
        algorithm=of.algorithm,
        learning_rate=of.learning_rate,
        weight_decay=of.weight_decay,
        keep="coefficients",
    )
    coefficients = end.coefficients.values.transpose(0, 2, 1)[None]
    return State(coefficients, coefficients @ lin.gram)
