"""`predict`: every agent's losses, outputs and parameters, round by round, without training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import ROUND
from consilience.errors import InvalidSpec
from consilience.graphs import MixingMatrix
from consilience.theory.peer_to_peer.arguments import (
    check_algorithm,
    check_count,
    check_keep,
    check_rate,
    check_time,
    learning_data,
    mixing_by_round,
)
from consilience.theory.peer_to_peer.dynamics import dynamics
from consilience.theory.peer_to_peer.kernels.infinite_width import InfiniteWidthKernel
from consilience.theory.peer_to_peer.linearization import Linearization, linearize
from consilience.theory.peer_to_peer.matrix_free import kernel_bytes, matrix_free_trajectory
from consilience.theory.peer_to_peer.powers import states
from consilience.theory.peer_to_peer.quantities import KEEP, as_dataset, measure_all
from consilience.theory.peer_to_peer.rounds import State, advance, initial_state


def predict(
    model: Any,
    params: Any,
    inputs: Any,
    targets: Any,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    num_rounds: int,
    test_inputs: Any = None,
    test_targets: Any = None,
    time: str = "rounds",
    weight_decay: float = 0.0,
    offsets: Any = None,
    record_every: int | None = None,
    keep: Sequence[str] = (),
    max_memory: float = 8e9,
) -> xr.Dataset:
    """Predict the training of a wide network by agents that average over a graph.

    Exact for models that are linear in their parameters; for wide networks the error falls with the width,
    measured about as 1/width. Full batches, squared loss L_q(θ) = (1/2n_q) Σ_k ‖f(x_k, θ) − y_k‖² + γ‖θ‖².

    Args:
        model: a model of `cs.models`, an equinox module, or an `InfiniteWidthKernel`.
        params: θ⁰, one agent's parameters, from which all agents start; None for an infinite-width kernel.
        inputs: shape (agents, samples, ...), or one array (samples, ...) per agent.
        targets: shape (agents, samples, outputs), or one array (samples, outputs) per agent.
        mixing: W, a mixing matrix or an array (agents, agents); or a schedule, round → (agents, agents), for
            time="rounds". For Eq. (2) of paper 001, "dgd" and W = `graphs.diffusive(graph, learning_rate=η,
            coupling=σ)`.
        algorithm: "dgd" (mix and step at once), "atc" (adapt, then combine) or "cta" (combine, then adapt).
        learning_rate: η > 0.
        num_rounds: rounds to predict.
        test_inputs: common to all agents, shape (test samples, ...).
        test_targets: shape (test samples, outputs).
        time: "rounds", exact for the discrete algorithm; or "flow", the gradient flow at the times t = η · round.
        weight_decay: γ ≥ 0 of γ‖θ‖².
        offsets: θ_q(0) − θ⁰ of each agent, a pytree like `params` with a leading axis of agents.
        record_every: rounds between two records; the first and the last round are always recorded. By default every
            round; without a kernel fewer, so that recording costs no more than the rounds.
        keep: what is recorded beside losses and consensus distance: "outputs", "errors", "coefficients".
        max_memory: bytes that the kernel may take. Above, products with the Jacobian take its place, in the precision
            of `params`, and `attrs["method"]` says so; there are no flow and no coefficients then.

    Returns:
        A data set with dimensions (round, agent): `train_loss` on the agent's own data, `objective`
        (1/Q) Σ_r L_r(θ_q), `test_loss` if there are test data, `consensus_distance` (round). Losses leave out the term
        γ‖θ‖². With `keep`: outputs and errors on all agents' training data (`train_…`, the coordinate `held_by` says
        whose) and on the test data, and the coefficients of θ_q − θ⁰, which `parameters` turns into parameters. `time`
        is η · round. `attrs` say how it was computed.

    Raises:
        DataError: for data that cannot be.
        InvalidSpec: for values that cannot be; see also `linearize`.
        IncompatiblePair: for mixing matrices of another size, for a schedule with time="flow".

    Example:
        >>> import jax, numpy as np
        >>> from consilience import graphs, models
        >>> model = models.ntk_mlp(depth=1, width=64)
        >>> params = model.init(jax.random.key(0), (3,), 1)
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))        # 4 agents, 5 samples each
        >>> run = predict(model, params, x, x[..., :1], graphs.metropolis(graphs.cycle(4)), learning_rate=0.1,
        ...               num_rounds=200)
        >>> run.train_loss.dims, bool((run.train_loss[-1] < run.train_loss[0]).all())
        (('round', 'agent'), True)

    Source:
        Paper 003, eqs. of DGD, ATC and CTA and their linearised gradient flows.
    """
    parts: dict[str, Any] = {
        "algorithm": algorithm,
        "learning_rate": learning_rate,
        "num_rounds": num_rounds,
        "weight_decay": weight_decay,
    }
    data = learning_data(inputs, targets, test_inputs, test_targets)
    if kernel_bytes(data) > max_memory and not isinstance(model, InfiniteWidthKernel):
        _check_needs_no_kernel(kernel_bytes(data), max_memory, check_time(time), check_keep(keep, KEEP))
        return matrix_free_trajectory(
            model, params, data, mixing, offsets=offsets, record_every=record_every, keep=keep, **parts
        )
    network = linearize(
        model,
        params,
        inputs,
        targets,
        test_inputs=test_inputs,
        test_targets=test_targets,
        offsets=offsets,
        max_memory=max_memory,
    )
    every = 1 if record_every is None else record_every
    return trajectory(network, mixing, time=time, record_every=every, keep=keep, **parts)


def _check_needs_no_kernel(needed: float, max_memory: float, time: str, keep: tuple[str, ...]) -> None:
    """Refuses what products with the Jacobian cannot give."""
    asked = 'time="flow"' if time == "flow" else 'keep="coefficients"' if "coefficients" in keep else None
    if asked is not None:
        raise InvalidSpec(
            f"{asked} needs the kernel of all data, which takes {needed / 1e9:.3g} GB, more than max_memory="
            f"{max_memory:g} ({max_memory / 1e9:.3g} GB). Use fewer samples or outputs, or write max_memory="
            f"{1.01 * needed:.3g} if the computer has it; losses round by round are predicted without a kernel."
        )


def trajectory(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    num_rounds: int,
    time: str = "rounds",
    weight_decay: float = 0.0,
    record_every: int = 1,
    keep: Sequence[str] = (),
) -> xr.Dataset:
    """`predict` for a network that is already linearised: for the next graph, rate or algorithm.

    Args:
        linearization: network and data, from `linearize`.
        mixing: W, a mixing matrix or an array (agents, agents) whose rows sum to one; or a schedule, round → (agents,
            agents), for time="rounds".
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        num_rounds: rounds to predict.
        time: "rounds", or "flow" at the times t = η · round.
        weight_decay: γ ≥ 0 of γ‖θ‖².
        record_every: rounds between two records; the first and the last round are always recorded.
        keep: "outputs", "errors", "coefficients", beside losses and consensus distance.

    Returns:
        The data set of `predict`, with dimensions (round, agent).

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for mixing matrices that do not fit, and for a schedule with time="flow".

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))
        >>> kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> rates = [trajectory(network, graphs.uniform(4), learning_rate=rate, num_rounds=50) for rate in (0.05, 0.1)]
        >>> bool(rates[0].objective[-1].mean() > rates[1].objective[-1].mean())
        True
    """
    lin = linearization
    rate = check_rate("learning_rate", learning_rate, positive=True)
    count = check_count("num_rounds", num_rounds)
    every = check_count("record_every", record_every, least=1)
    kept = check_keep(keep, KEEP)
    rounds = np.append(np.arange(0, count, every), count)
    parts = {"algorithm": algorithm, "learning_rate": rate, "weight_decay": weight_decay}
    if check_time(time) == "rounds" and callable(mixing) and not isinstance(mixing, MixingMatrix):
        method, found = "kernel, repeated rounds", _scheduled(lin, mixing, rounds, **parts)
    else:
        method, found = states(dynamics(lin, mixing, **parts), rounds, time)
    recorded = measure_all(lin, found, kept)
    return as_dataset(lin, recorded, {ROUND: rounds, "time": rate * rounds}, **parts, time=time, method=method)


def _scheduled(
    lin: Linearization, mixing: Any, rounds: np.ndarray, *, algorithm: str, learning_rate: float, weight_decay: float
) -> Iterator[State]:
    """The states after the given rounds, with another mixing matrix in each."""
    weights_of = mixing_by_round(mixing, lin.num_agents)
    check_algorithm(algorithm)
    check_rate("weight_decay", weight_decay)
    state, rate, round = initial_state(lin), np.array([learning_rate]), 0
    for wanted in rounds:
        while round < wanted:
            weights = weights_of(round)[None]
            state = advance(lin, state, weights, algorithm=algorithm, learning_rate=rate, weight_decay=weight_decay)
            round += 1
        yield state
