"""Order parameter and loss against the coupling: quenches, and adiabatic sweeps in both directions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from consilience.axes import AGENT
from consilience.errors import IncompatiblePair, InvalidSpec, UnknownName
from consilience.graphs import Graph
from consilience.randomness import Purpose, check_seed, generator
from consilience.theory.landau.arguments import check_count, check_positive, numbers, shown
from consilience.theory.landau.integration import integrate, time_average
from consilience.theory.landau.losses import effective_loss

PROTOCOLS = ("quench", "adiabatic_up", "adiabatic_down")

SPAN = 10.0
"""Paper 001, Appendix B: each coupling is integrated for this long; the second half is averaged over."""
_RECORDS = 10


def gaussian_disorder(
    num_realizations: int, num_agents: int, *, mean: float = 0.0, std: float = 2.0, seed: int = 0
) -> np.ndarray:
    """δ ~ N(mean, std²) of many realizations, shape (realizations, agents).

    Realization r depends on (seed, r) and the number of agents only: wider disorder is the same, stretched (common
    random numbers).

    Example:
        >>> gaussian_disorder(3, 200).shape
        (3, 200)

    Source:
        Paper 001, Appendix B, with N(0, 2) read as a standard deviation of 2.
    """
    num_realizations, num_agents, seed = _checked_draws(num_realizations, num_agents, seed)
    centre = numbers("mean", mean, meaning="this is the mean of δ.")
    width = numbers("std", std, least=0, meaning="this is the standard deviation of δ.")
    draws = [generator(seed, Purpose.DISORDER, r).standard_normal(num_agents) for r in range(num_realizations)]
    return centre + width * np.array(draws)


def uniform_start(
    num_realizations: int, num_agents: int, *, width: float = 2.0, offset: float = 0.05, seed: int = 0
) -> np.ndarray:
    """m(0) uniform on [−width + offset, width + offset], shape (realizations, agents).

    The paper's small offset ε favours positive ⟨m⟩, as the activation functions of networks do.

    Example:
        >>> m = uniform_start(3, 200)
        >>> bool(((m > -1.95) & (m < 2.05)).all())
        True

    Source:
        Paper 001, Appendix B.
    """
    num_realizations, num_agents, seed = _checked_draws(num_realizations, num_agents, seed)
    draws = [
        generator(seed, Purpose.INITIAL_MAGNETIZATION, r).uniform(-width, width, num_agents)
        for r in range(num_realizations)
    ]
    return offset + np.array(draws)


def _checked_draws(num_realizations: Any, num_agents: Any, seed: Any) -> tuple[int, int, int]:
    return (
        check_count("num_realizations", num_realizations, reason="each is a draw of its own."),
        check_count("num_agents", num_agents, reason="a population has one agent at least."),
        check_seed(seed),
    )


def sweep(
    delta: Any,
    initial: Any,
    *,
    depth: int,
    couplings: Any,
    protocol: str = "quench",
    weight_decay: float = 1e-3,
    graph: Graph | None = None,
    second_moment: Any = 1.0,
    span: float = SPAN,
    average_after: float = SPAN / 2,
    rtol: float = 1e-3,
    atol: float = 1e-6,
) -> xr.Dataset:
    """Time-averaged order parameters and losses against the coupling.

    Args:
        delta: δ_i, shape (agents,) or (seeds, agents).
        initial: m_i(0), shape (agents,) or (seeds, agents).
        depth: D ≥ 0.
        couplings: values of σ̂ ≥ 0, increasing.
        protocol: "quench": each coupling starts from `initial`. "adiabatic_up" and "adiabatic_down": the first (or
            last) coupling starts from `initial`, each other one from the final state of the one before.
        weight_decay: γ̂ ≥ 0.
        graph: the complete graph if None.
        second_moment: s_i, broadcastable against `delta`.
        span: how long each coupling is integrated, in units of the theory's time.
        average_after: from when on observables are averaged.
        rtol: as in `integrate`. The default is that of SciPy's RK45, the paper's solver.
        atol: as in `integrate`.

    Returns:
        A data set with dimensions "coupling", "seed" and "agent":

        - `order_parameter` (coupling, seed, agent): the time average of m_i,
        - `magnetization` (coupling, seed): of ⟨m⟩,
        - `loss` (coupling, seed): of ⟨L̂⟩, Eq. (5),
        - `final` (coupling, seed, agent): m_i at the end,
        - `outcome` (coupling, seed): "completed", or "diverged"; what diverged is NaN elsewhere.

        Attributes: the other arguments but arrays.

    Raises:
        UnknownName: for a protocol that does not exist.
        InvalidSpec: for values that cannot be.
        IncompatiblePair: for shapes or a graph that do not fit.

    Example:
        >>> delta, initial = gaussian_disorder(20, 50), uniform_start(20, 50)
        >>> result = sweep(delta, initial, depth=1, couplings=[0.0, 2.0])
        >>> abs(result.magnetization).mean("seed").values.round(1).tolist()       # disorder, order
        [0.1, 0.7]

    Source:
        Paper 001, Appendix B.
    """
    if protocol not in PROTOCOLS:
        raise UnknownName.among("protocol", protocol, PROTOCOLS)
    sigma = numbers("couplings", couplings, least=0, meaning="agents attract each other with strength σ̂.")
    if sigma.ndim != 1 or sigma.size == 0 or (np.diff(sigma) <= 0).any():
        raise InvalidSpec(
            f"couplings={shown(couplings)}: a sweep needs a list of increasing σ̂. Write couplings=[0.0, 1.0, 10.0]."
        )
    delta, state = _checked_population(delta, initial, weight_decay, second_moment)
    times = _checked_times(span, average_after)
    order = range(len(sigma))[:: -1 if protocol == "adiabatic_down" else 1]
    found: dict[int, dict[str, np.ndarray]] = {}
    lost = np.asarray(False)
    for k in order:
        m = integrate(
            delta, state, depth=depth, coupling=sigma[k], weight_decay=weight_decay, times=times, graph=graph,
            second_moment=second_moment, rtol=rtol, atol=atol,
        )  # fmt: skip
        if protocol != "quench":
            # What has diverged stays so, as it does in simulated sweeps; any number stands for it meanwhile.
            m = np.where(lost[..., None], np.nan, m)
            lost = ~np.isfinite(m[-1]).all(-1)
            state = np.where(lost[..., None], 0.0, m[-1])
        average = time_average(m, times, after=average_after)
        loss = effective_loss(m, delta, depth, second_moment=second_moment)
        found[k] = {
            "order_parameter": average,
            "magnetization": average.mean(-1),
            "loss": time_average(loss, times, after=average_after),
            "final": m[-1],
        }
    dataset = _labelled({name: np.stack([found[k][name] for k in range(len(sigma))]) for name in found[0]}, sigma)
    return dataset.assign_attrs(
        depth=depth, protocol=protocol, weight_decay=float(weight_decay),
        graph="complete" if graph is None else graph.name, span=float(span), average_after=float(average_after),
        rtol=rtol, atol=atol,
    )  # fmt: skip


def _checked_population(
    delta: Any, initial: Any, weight_decay: Any, second_moment: Any
) -> tuple[np.ndarray, np.ndarray]:
    """δ and m(0), of one population or of several seeds; the rest is checked where it is used."""
    delta = numbers("delta", delta, meaning="δ_i = ⟨x̂ŷ⟩ is an average over agent i's data.")
    state = numbers("initial", initial, meaning="this is the order parameter m_i of each agent.")
    if max(delta.ndim, state.ndim, np.ndim(second_moment)) > 2 or np.ndim(weight_decay):
        raise InvalidSpec(
            f"delta has shape {delta.shape}, initial {state.shape}, second_moment {np.shape(second_moment)} and "
            f"weight_decay {np.shape(weight_decay)}; a sweep takes (agents,) or (seeds, agents), and one weight decay. "
            "Write one sweep for each batch of seeds."
        )
    return np.atleast_2d(delta), state


def _checked_times(span: Any, average_after: Any) -> np.ndarray:
    """When the state is recorded: at the start, and evenly over what is averaged."""
    span = check_positive("span", span, say=SPAN)
    after = numbers("average_after", average_after, meaning="observables are averaged from this time on.")
    if after.ndim or not 0 <= after < span:
        raise InvalidSpec(
            f"average_after={shown(average_after)} leaves nothing of span={span:g} to average over. Write "
            f"average_after={span / 2:g}."
        )
    return np.unique(np.concatenate([[0.0], np.linspace(after, span, _RECORDS + 1)]))


def _labelled(values: dict[str, np.ndarray], sigma: np.ndarray) -> xr.Dataset:
    dims = ("coupling", "seed", AGENT)
    names = {
        "order_parameter": "order parameter $m_i$",
        "magnetization": r"mean magnetization $\langle m \rangle$",
        "loss": r"mean effective loss $\langle \hat{L} \rangle$",
        "final": "order parameter $m_i$ at the end",
    }
    dataset = xr.Dataset(
        {name: (dims[: array.ndim], array, {"long_name": names[name]}) for name, array in values.items()},
        coords={
            "coupling": ("coupling", sigma, {"long_name": r"coupling $\hat{\sigma}$"}),
            "seed": np.arange(values["magnetization"].shape[1]),
            AGENT: np.arange(values["final"].shape[2]),
        },
    )
    completed = np.isfinite(values["magnetization"])
    return dataset.assign(outcome=(dims[:2], np.where(completed, "completed", "diverged")))


def hysteresis_area(up: xr.DataArray, down: xr.DataArray) -> xr.DataArray:
    """∫ |⟨m⟩_down − ⟨m⟩_up| dσ̂ between the two adiabatic sweeps, by the trapezoidal rule.

    Args:
        up: ⟨m⟩ of the sweep upward, with a dimension "coupling".
        down: ⟨m⟩ of the sweep downward, on the same couplings.

    Returns:
        The other dimensions; 0 where the sweeps coincide.

    Raises:
        IncompatiblePair: if the couplings differ.

    Example:
        >>> up = xr.DataArray([0.0, 0.0, 1.0], dims="coupling", coords={"coupling": [0.0, 1.0, 2.0]})
        >>> float(hysteresis_area(up, up + 1))
        2.0
    """
    if not up["coupling"].equals(down["coupling"]):
        raise IncompatiblePair(
            f"The couplings of the two sweeps, {shown(up['coupling'].values.tolist())} and "
            f"{shown(down['coupling'].values.tolist())}, are not the same, and the area lies between two curves on one "
            "axis. Sweep the same couplings in both directions."
        )
    return abs(down - up).integrate("coupling").rename("hysteresis_area")
