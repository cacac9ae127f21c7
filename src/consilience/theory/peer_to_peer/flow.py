"""The gradient flow of DGD, ATC and CTA as a function of continuous time, and its state-transition matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.theory.peer_to_peer.arguments import Floats, check_keep
from consilience.theory.peer_to_peer.coordinates import Coordinates, coordinates
from consilience.theory.peer_to_peer.dynamics import Dynamics, dynamics
from consilience.theory.peer_to_peer.linearization import Linearization
from consilience.theory.peer_to_peer.operators import flow_map
from consilience.theory.peer_to_peer.powers import states
from consilience.theory.peer_to_peer.quantities import KEEP, as_dataset, measure_all


@dataclass(frozen=True, eq=False, repr=False)
class Flow:
    """dϑ/dt = −Aϑ − b, solved. Built by `flow`; call it with times.

    Attributes:
        dynamics: network, data, mixing matrix, algorithm and rates.
    """

    dynamics: Dynamics

    def __repr__(self) -> str:
        of = self.dynamics
        return f"Flow({of.algorithm}, {of.linearization!r}, {of.mixing!r}, learning_rate={of.learning_rate:g})"

    def __call__(self, times: Any, keep: Sequence[str] = ()) -> xr.Dataset:
        """The quantities of `predict` at the given times.

        Args:
            times: from 0 up, ascending; t = ηk is where round k is.
            keep: what is recorded beside losses and consensus distance: "outputs", "errors", "coefficients".

        Returns:
            A data set with dimensions (time, agent).

        Raises:
            InvalidSpec: for times that are none.
        """
        of, moments, kept = self.dynamics, _check_times(times), check_keep(keep, KEEP)
        method, found = states(of, moments / of.learning_rate, "flow")
        recorded = measure_all(of.linearization, found, kept)
        return as_dataset(of.linearization, recorded, {"time": moments}, **of.attrs, method=method)

    @cached_property
    def coordinates(self) -> Coordinates:
        """Orthonormal coordinates v of what the agents can learn, in which `state_transition` is given.

        θ_q − θ⁰ = B v_q, where the columns of B, combinations of training Jacobians and of directions (θ⁰ with weight
        decay, offsets) by the coefficients `coordinates.dual`, are orthonormal: distances between agents are those in
        parameter space, and outputs change by `coordinates.features` @ v_q.
        """
        return coordinates(self.dynamics.linearization, weight_decay=self.dynamics.weight_decay)

    def state_transition(self, t: float, s: float = 0.0) -> Floats:
        """Φ(t, s) = exp(−A(t − s)): how deviations between two solutions at time s have become those at time t.

        In parameter space Φ(t, s) acts on the span of B as here, (1 ⊗ B) Φ (1 ⊗ B)ᵀ, and on directions that no
        training data see as exp(−(I − W)(t − s)/η) alone.

        Args:
            t: time.
            s: earlier time; a later one gives the inverse.

        Returns:
            Shape (agents, rank, agents, rank): v_q(t) = Σ_r Φ[q, :, r, :] v_r(s) + what the data push.

        Raises:
            InvalidSpec: if the matrix would be too large, or for times that are none.

        Example:
            >>> import numpy as np
            >>> from consilience import graphs
            >>> from consilience.theory import peer_to_peer
            >>> x = np.random.default_rng(0).normal(size=(3, 2, 4))
            >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 1.0, 0.0)
            >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
            >>> solution = flow(network, graphs.uniform(3), algorithm="dgd", learning_rate=0.1)
            >>> twice = np.tensordot(solution.state_transition(5, 2), solution.state_transition(2, 0), axes=2)
            >>> bool(np.allclose(twice, solution.state_transition(5, 0), atol=1e-12))
            True

        Source:
            Paper 003: closed form of the gradient flow.
        """
        of, coords = self.dynamics, self.coordinates
        if not np.isfinite([t, s]).all():
            raise InvalidSpec(f"state_transition({t!r}, {s!r}): times are numbers. Write state_transition(5.0), say.")
        generator = flow_map(
            coords,
            of.mixing,
            algorithm=of.algorithm,
            learning_rate=of.learning_rate,
            weight_decay=of.weight_decay,
        ).matrix
        shape = (of.linearization.num_agents, coords.rank) * 2
        return np.asarray(scipy.linalg.expm(-(t - s) * generator), np.float64).reshape(shape)


def flow(
    linearization: Linearization,
    mixing: Any,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Flow:
    """The gradient flow that rounds follow while they are slow, as a function of continuous time t = ηk.

        DGD  A = (I−W)⊗I/η + H      ATC  A = (I−W)⊗I/η + (W⊗I)H      CTA  A = (I−W)⊗I/η + H(W⊗I)

    Args:
        linearization: network and data.
        mixing: W: a mixing matrix, or an array (agents, agents) whose rows sum to one.
        algorithm: "dgd", "atc" or "cta".
        learning_rate: η > 0.
        weight_decay: γ ≥ 0 of γ‖θ‖².

    Returns:
        A function of time.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for a schedule of mixing matrices; for matrices of another size, or whose rows do not sum to
            one.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.random.default_rng(0).normal(size=(4, 5, 3))
        >>> kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> solution = flow(network, graphs.uniform(4), learning_rate=0.1)
        >>> run = solution([0.0, 0.5, 20.0])
        >>> run.train_loss.dims, bool((run.objective.diff("time") < 0).all())
        (('time', 'agent'), True)

    Source:
        Paper 003, the linearised gradient flows of DGD, ATC and CTA and their closed form.
    """
    return Flow(
        dynamics(linearization, mixing, algorithm=algorithm, learning_rate=learning_rate, weight_decay=weight_decay)
    )


def state_transition(
    linearization: Linearization,
    mixing: Any,
    t: float,
    s: float = 0.0,
    *,
    algorithm: str = "dgd",
    learning_rate: float,
    weight_decay: float = 0.0,
) -> Floats:
    """Φ(t, s) of the gradient flow, shape (agents, rank, agents, rank); see `Flow.state_transition`.

    Example:
        >>> import numpy as np
        >>> from consilience import graphs
        >>> from consilience.theory import peer_to_peer
        >>> x = np.eye(2)[:, None]                                       # 2 agents with one sample each
        >>> kernel = peer_to_peer.infinite_width_kernel(0, "linear", 2.0, 0.0)
        >>> network = peer_to_peer.linearize(kernel, None, x, x[..., :1])
        >>> state_transition(network, graphs.uniform(2), 1.0, learning_rate=0.5).shape
        (2, 2, 2, 2)
    """
    solution = flow(linearization, mixing, algorithm=algorithm, learning_rate=learning_rate, weight_decay=weight_decay)
    return solution.state_transition(t, s)


def _check_times(times: Any) -> Floats:
    moments = np.atleast_1d(np.asarray(times, np.float64))
    is_ascending = moments.ndim == 1 and len(moments) > 0 and bool((np.diff(moments) >= 0).all())
    if not (is_ascending and np.isfinite(moments).all() and moments[0] >= 0):
        raise InvalidSpec(
            f"times={times!r}: the flow starts at time 0 and is asked for moments in their order. Write ascending "
            "numbers from 0 up, np.linspace(0, 50, 101) say; round k is at time learning_rate * k."
        )
    return moments
