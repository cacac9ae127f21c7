"""The effective theory solved for the disorder of real shards: where learning becomes collective, and in which order.

Theory and experiment meet by these rules, and no others:

- σ = 2σ̂: `couplings` here are the σ of Eq. (2) of paper 001, the theory's being half of it (Appendix A). γ̂ = γ.
- t = 2η · rounds: the theory runs as long as the experiment, and averages over the second half as it does.
- δ_i and s_i are measured on the shards, by a stated definition; all others of `landau.DEFINITIONS` are solved, too.
- m_i(0) is the paper's: uniform on [−2 + ε, 2 + ε].

What agents know of each other's data is the `gain`, minus the mean of the cross-loss (A13) over pairs of different
agents, in units of the squared target: 0 is what an agent reaches that predicts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr

from consilience.axes import AGENT
from consilience.errors import InvalidSpec
from consilience.graphs import Graph
from consilience.graphs.arguments import real_number
from consilience.observables import CriticalCoupling, critical_coupling, final_coupling, halfway
from consilience.tasks import Shards, Task
from consilience.theory import landau
from consilience.theory.landau.arguments import check_count, check_depth, check_positive, numbers, shown

COUPLINGS = (0.0, *np.geomspace(0.03, 395.0, 34).round(4).tolist())
"""σ of Eq. (2), up to just below the stability limit of the paper's protocol."""
LEARNING_RATE = 0.005
"""η of the paper's experiments."""
QUANTITIES = ("order", "gain")
LEAST_RISE = 0.05
"""A quantity that rises by a smaller share of its largest value above σ = 0 has no transition worth the name."""


@dataclass(frozen=True)
class TransitionPrediction:
    """What the theory says of a population, and how sure it is.

    Attributes:
        disorder: `landau.measure_disorder` of the shards under the first definition, with standard errors.
        variants: `landau.disorder_variants` of all definitions.
        curves: against the coupling σ of Eq. (2), dimensions (case, depth, coupling, seed) for `order` (|⟨m⟩|) and
            `gain`, and (case, depth, coupling, agent) for `class_gain`, the gain of all others on agent j's data. Cases
            are the definitions by name, and "group 0", ...: the first definition without one group of samples.
        graph_name: on which the agents are coupled.
    """

    disorder: xr.Dataset
    variants: xr.Dataset
    curves: xr.Dataset
    graph_name: str

    @property
    def definition(self) -> str:
        """The first definition, whose numbers are given unless stated otherwise."""
        return str(self.variants.definition.values[0])

    def has_transition(self, depth: int, quantity: str, case: str | None = None) -> bool:
        """Whether `quantity` rises by `LEAST_RISE` of its largest value at least."""
        return self.share_alone(depth, quantity, case) < 1 - LEAST_RISE

    def onset(self, depth: int, quantity: str) -> CriticalCoupling:
        """Where `quantity` ("order" or "gain") has come half of its way from the first coupling to its largest value.

        With a 95 % interval over initial conditions. Of meaning only where `has_transition`.
        """
        curve = self._curve(depth, quantity, None)
        return critical_coupling(curve, threshold=halfway(curve))

    def end(self, depth: int, quantity: str) -> CriticalCoupling:
        """Where `quantity` falls below that level for good."""
        curve = self._curve(depth, quantity, None)
        return final_coupling(curve, threshold=halfway(curve))

    def share_alone(self, depth: int, quantity: str, case: str | None = None) -> float:
        """How much of the largest value there is at σ = 0: near 1, the theory sees no transition of this quantity."""
        mean = self._curve(depth, quantity, case).mean("seed")
        return float(mean.isel(coupling=0) / mean.max())

    def onsets_over_definitions(self, depth: int, quantity: str) -> xr.DataArray:
        """The onset under every definition, dimension "definition"; NaN where there is no transition."""
        names = [str(name) for name in self.variants.definition.values]
        values = [self._onset_of_the_mean(depth, quantity, name) for name in names]
        return xr.DataArray(values, {"definition": names}, ("definition",), name="onset")

    def sampling_error(self, depth: int, quantity: str) -> float:
        """Standard error of the logarithm of `onset` that comes from the finite shards (jackknife)."""
        groups = [str(case) for case in self.curves.case.values if str(case).startswith("group ")]
        onsets = np.array([self._onset_of_the_mean(depth, quantity, group) for group in groups])
        if not (onsets > 0).all():  # not for NaN either
            return np.nan
        return float(landau.jackknife_error(xr.DataArray(np.log(onsets), dims="group")))

    def class_order(self) -> xr.Dataset:
        """In which order agents' data will be learned by the others: by δ, the largest first.

        Returns:
            Dimension "agent", in that order: `delta`, `delta_error`, `second_moment`, and `earliest` and `latest`, the
            smallest and largest rank (from 1) among all definitions.

        Source:
            Paper 001, below Eq. (8): the higher δ_j, the earlier the units predict it well.
        """
        ranks = scipy.stats.rankdata(-self.variants.delta.transpose("definition", AGENT).values, axis=1)
        found = self.disorder[["delta", "delta_error", "second_moment"]].assign(
            earliest=(AGENT, ranks.min(axis=0)), latest=(AGENT, ranks.max(axis=0))
        )
        return found.isel({AGENT: np.argsort(-found.delta.values, kind="stable")})

    def _onset_of_the_mean(self, depth: int, quantity: str, case: str) -> float:
        if not self.has_transition(depth, quantity, case):
            return np.nan
        mean = self._curve(depth, quantity, case).mean("seed")
        return critical_coupling(mean, threshold=halfway(mean)).value

    def _curve(self, depth: int, quantity: str, case: str | None) -> xr.DataArray:
        if quantity not in QUANTITIES:
            raise InvalidSpec(f"quantity={quantity!r}: write 'order' for |⟨m⟩| or 'gain' for what agents know.")
        return self.curves[quantity].sel(case=case or self.definition, depth=depth, drop=True)


def predict_transition(
    task: Task,
    shards: Shards,
    *,
    depths: Sequence[int] = (0, 1, 2),
    couplings: Sequence[float] = COUPLINGS,
    graph: Graph | None = None,
    learning_rate: float = LEARNING_RATE,
    num_rounds: int = 20_000,
    weight_decay: float = 1e-3,
    definitions: Mapping[str, landau.DisorderDefinition] | None = None,
    num_realizations: int = 100,
    offset: float = 0.05,
    num_groups: int = 10,
    seed: int = 0,
) -> TransitionPrediction:
    """Solve the theory for the disorder of the agents' shards, under every definition of it.

    Args:
        task: the data.
        shards: who has which.
        depths: D, hidden layers.
        couplings: σ of Eq. (2), increasing; the first is what the others are compared with, 0 usually.
        graph: over which the agents are coupled; the complete graph if None.
        learning_rate: η of the experiment.
        num_rounds: of the experiment.
        weight_decay: γ.
        definitions: of the disorder, the first being that of the main prediction; by default `landau.DEFINITIONS`, that
            of `landau.DisorderDefinition()` first.
        num_realizations: initial conditions.
        offset: ε of the initial conditions.
        num_groups: groups of samples of the jackknife.
        seed: of the initial conditions.

    Returns:
        The prediction.

    Raises:
        InvalidSpec: for values that cannot be.
        IncompatiblePair: if shards, task and graph do not fit each other.

    Example:
        >>> from consilience import tasks
        >>> task = tasks.load("digits")
        >>> prediction = predict_transition(task, tasks.by_class(task, num_agents=10), depths=[1], num_realizations=20)
        >>> prediction.class_order().agent.values[:3].tolist()          # the digits that all will know first
        [0, 4, 2]

    Source:
        Paper 001, Eqs. (4), (A13); the definition of the disorder is this project's.
    """
    depths, sigma = _checked_depths(depths), _checked_couplings(couplings)
    eta = check_positive("learning_rate", learning_rate, say=LEARNING_RATE)
    rounds = check_count("num_rounds", num_rounds, reason="the theory runs as long as the experiment.")
    offset = real_number("offset", offset, low=-2, high=2, reason="ε shifts the start, uniform on [−2 + ε, 2 + ε].")
    definitions = definitions or default_definitions()
    (name, first), *_ = definitions.items()
    disorder = landau.measure_disorder(task, shards, first, num_groups=num_groups)
    variants = landau.disorder_variants(task, shards, definitions)
    groups = landau.leave_group_out(task, shards, first, num_groups=num_groups)
    groups = groups.rename(group="case").assign_coords(case=[f"group {k}" for k in range(num_groups)])
    names = ["delta", "second_moment"]
    cases = xr.concat([variants[names].rename(definition="case"), groups[names]], dim="case", join="exact")
    parts = [
        _solve(
            cases, depth, sigma, graph, num_realizations, offset, seed,
            span=2 * eta * rounds, weight_decay=weight_decay,
        )
        for depth in depths
    ]  # fmt: skip
    curves = xr.concat(parts, dim=xr.Variable("depth", depths), join="exact")
    assert name == str(variants.definition.values[0])
    return TransitionPrediction(disorder, variants, curves, graph.name if graph else f"complete({len(shards)})")


def _checked_depths(depths: Any) -> list[int]:
    found = [] if isinstance(depths, str) or not isinstance(depths, Iterable) else [check_depth(d) for d in depths]
    if not found or len(set(found)) < len(found):
        raise InvalidSpec(f"depths={depths!r}: write a list of depths D, each of them once, depths=[0, 1, 2], say.")
    return found


def _checked_couplings(couplings: Any) -> np.ndarray:
    sigma = numbers("couplings", couplings, least=0, meaning="agents attract each other with strength σ.")
    if sigma.ndim != 1 or sigma.size < 2 or (np.diff(sigma) <= 0).any():
        raise InvalidSpec(
            f"couplings={shown(couplings)}: a transition lies between the first coupling and others. Write at least "
            "two in increasing order, couplings=[0.0, 1.0, 10.0], say."
        )
    return sigma


def default_definitions() -> dict[str, landau.DisorderDefinition]:
    """All of `landau.DEFINITIONS`, the default one first.

    Example:
        >>> next(iter(default_definitions()))
        'global/0.1/all'
    """
    first = landau.DisorderDefinition()
    return {first.name: first, **landau.DEFINITIONS}


def _solve(
    cases: xr.Dataset,
    depth: int,
    couplings: np.ndarray,
    graph: Graph | None,
    num_realizations: int,
    offset: float,
    seed: int,
    *,
    span: float,
    weight_decay: float,
) -> xr.Dataset:
    """All cases and realizations of one depth, as rows of one sweep."""
    num_cases, num_agents = cases.sizes["case"], cases.sizes[AGENT]
    start = landau.uniform_start(num_realizations, num_agents, offset=offset, seed=seed)
    delta, second = (
        np.repeat(cases[name].transpose("case", AGENT).values, num_realizations, axis=0)
        for name in ("delta", "second_moment")
    )
    swept = landau.sweep(
        delta,
        np.tile(start, (num_cases, 1)),
        depth=depth,
        couplings=couplings / 2,
        second_moment=second,
        graph=graph,
        weight_decay=weight_decay,
        span=span,
        average_after=span / 2,
    )
    shape, dims = (len(couplings), num_cases, num_realizations), ("coupling", "case", "seed")
    gain = _gain(swept.order_parameter.values, delta, second, depth).reshape(*shape, num_agents)
    by_class = xr.DataArray(gain, dims=(*dims, AGENT))
    return xr.Dataset(
        {
            "order": (dims, abs(swept.magnetization.values).reshape(shape), {"long_name": "order parameter |⟨m⟩|"}),
            "gain": by_class.mean(AGENT).assign_attrs(long_name="gain on others' data", units="squared targets"),
            "class_gain": by_class.mean("seed"),
        },
        coords={"case": cases.case.values, "coupling": couplings, "seed": np.arange(num_realizations)},
    ).transpose("case", "coupling", "seed", AGENT)


def _gain(m: np.ndarray, delta: np.ndarray, second_moment: np.ndarray, depth: int) -> np.ndarray:
    """−(L̂_x)_ij of (A13), averaged over the agents i other than j: what they know of the data of j.

    By sums over all agents less that over j, since the matrix (`landau.cross_loss`) would fill the memory.
    """
    others = max(1, m.shape[-1] - 1)
    output = m ** (depth + 1)
    first, squared = ((one.sum(axis=-1, keepdims=True) - one) / others for one in (output, output**2))
    return 2 * delta * first - second_moment * squared
