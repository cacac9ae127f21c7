"""The methods, as data: which parameter couples the agents of each, and how strongly in units of Eq. (2).

The effective pull Π = (1 − |λ₂|)/(Kη) of a method is how fast disagreement dies out per unit of learning time: λ₂ is
the factor by which a round without gradients multiplies the agents' differences, and a round of K local steps advances
the learning time by Kη. For Eq. (2) on the complete graph λ₂ = 1 − ησ, so that Π = σ, up to full averaging at σ = 1/η.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from consilience import algorithms, graphs
from consilience.messages import TopK

if TYPE_CHECKING:
    from consilience.recipes.phase_diagram.protocol import PhaseDiagram


def _no_options(config: PhaseDiagram, value: float) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Method:
    """A method and its control parameter.

    Attributes:
        label: for tables and figures.
        control: the control parameter, as an axis shows it; it increases with the coupling.
        algorithm: protocol → the method, with any value of a swept parameter.
        values: protocol → values of the control parameter, increasing.
        swept: the field of the algorithm that is the control parameter, if it is one.
        options: (protocol, value) → what else a run at this value needs: a mixing matrix, or schedules.
        pull: (protocol, value) → Π; `None` where agents have no differences that could die out.
        sense: in which sense Π stands for the σ of Eq. (2).
    """

    label: str
    control: str
    algorithm: Callable[[PhaseDiagram], algorithms.Algorithm]
    values: Callable[[PhaseDiagram], tuple[float, ...]]
    swept: str | None = None
    options: Callable[[PhaseDiagram, float], dict[str, Any]] = _no_options
    pull: Callable[[PhaseDiagram, float], float] | None = None
    sense: str = "none: all agents hold one model"


def _common(config: PhaseDiagram) -> dict[str, Any]:
    return {"learning_rate": config.learning_rate, "weight_decay": config.weight_decay}


def _shares(config: PhaseDiagram) -> tuple[float, ...]:
    """Shares of the distance that are gone per round, one for each pull."""
    return tuple(config.learning_rate * pull for pull in config.pulls)


def _per_round(config: PhaseDiagram, share: float) -> float:
    return share / config.learning_rate


def _partly_mixed(config: PhaseDiagram, share: float) -> dict[str, Any]:
    n = config.num_agents
    weights = (1 - share) * np.eye(n) + share / n
    return {"mixing": graphs.from_matrix(weights, f"partly mixed({n}, {share:g})")}


def _stable_shares(config: PhaseDiagram) -> tuple[float, ...]:
    """Elasticities up to 2/(N + 1), beyond which the centre overshoots."""
    return tuple(share for share in _shares(config) if share < 2 / (config.num_agents + 1))


def _frequencies(config: PhaseDiagram) -> tuple[float, ...]:
    """1/K for whole numbers K of rounds, one for each pull."""
    periods = {round(1 / share) for share in _shares(config)}
    return tuple(1 / period for period in sorted(periods, reverse=True))


def _every_rounds(config: PhaseDiagram, frequency: float) -> dict[str, Any]:
    n, period = config.num_agents, round(1 / frequency)
    works = np.zeros((period, n, n), bool)
    works[-1] = True
    return {"schedules": graphs.Schedules(edges=graphs.Periodic(works))}


def _random_links(config: PhaseDiagram, probability: float) -> dict[str, Any]:
    coin = graphs.Bernoulli(probability, num_agents=config.num_agents, links=True)
    return {"schedules": graphs.Schedules(edges=coin)}


def _participation(config: PhaseDiagram, fraction: float) -> dict[str, Any]:
    n = config.num_agents
    return {"schedules": graphs.Schedules(active=graphs.RandomSubset(round(fraction * n), num_agents=n))}


def _federated(config: PhaseDiagram) -> algorithms.Algorithm:
    return algorithms.FederatedAveraging(local_steps=config.local_steps, **_common(config))


def _by_mixing_weight(
    label: str,
    method: Callable[..., algorithms.Algorithm],
    sense: str,
    *,
    values: Callable[[PhaseDiagram], tuple[float, ...]] = _shares,
    pull: Callable[[PhaseDiagram, float], float] = _per_round,
) -> Method:
    """A method that mixes with W = (1 − μ)I + μ11ᵀ/N; by default differences shrink by μ a round."""
    return Method(
        label=label,
        control="mixing weight μ",
        algorithm=lambda config: method(**_common(config)),
        values=values,
        options=_partly_mixed,
        pull=pull,
        sense=sense,
    )


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "diffusive_coupling": Method(
            label="diffusive coupling",
            control="coupling σ",
            algorithm=lambda config: algorithms.DiffusiveCoupling(**_common(config)),
            values=lambda config: config.pulls,
            swept="coupling",
            pull=lambda config, coupling: coupling,
            sense="identical",
        ),
        "dgd": _by_mixing_weight("DGD", algorithms.DGD, "identical, at σ = μ/η"),
        "adapt_then_combine": _by_mixing_weight(
            "adapt then combine", algorithms.AdaptThenCombine, "to first order in ησ: gradients are mixed too"
        ),
        "combine_then_adapt": _by_mixing_weight(
            "combine then adapt", algorithms.CombineThenAdapt, "to first order in ησ: gradients at the mix"
        ),
        "gradient_tracking": _by_mixing_weight(
            "gradient tracking",
            algorithms.GradientTracking,
            "exact for differences; every agent learns from a running mean of all gradients",
        ),
        "exact_diffusion": _by_mixing_weight(
            "exact diffusion",
            algorithms.ExactDiffusion,
            "exact for differences, which oscillate and die out by √(1 − μ) a round",
            values=lambda config: tuple(1 - (1 - share) ** 2 for share in _shares(config)),
            pull=lambda config, weight: _per_round(config, 1 - (1 - weight) ** 0.5),
        ),
        "elastic_averaging": Method(
            label="elastic averaging",
            control="elasticity α",
            algorithm=lambda config: algorithms.ElasticAveraging(elasticity=0.0, **_common(config)),
            values=_stable_shares,
            swept="elasticity",
            pull=_per_round,
            sense="exact for differences; the centre lags behind the mean",
        ),
        "triadic_coupling": Method(
            label="triadic coupling, σ = 0",
            control="triadic coupling τ",
            algorithm=lambda config: algorithms.TriadicCoupling(selectivity=config.selectivity, **_common(config)),
            # All N² messages are held at once, which takes ten times as long as the others: every other value.
            values=lambda config: tuple(_triadic(config, pull) for pull in config.pulls[::2]),
            swept="triadic_coupling",
            pull=lambda config, coupling: coupling * (config.num_agents - 2) / config.num_agents,
            sense="identical for agents that nearly agree, or λ = 0, at σ = τ(N − 2)/N",
        ),
        "random_links": Method(
            label="DGD, random links",
            control="probability of a link p",
            algorithm=lambda config: algorithms.DGD(**_common(config)),
            values=_shares,
            options=_random_links,
            pull=_per_round,
            sense="in the mean over links, at σ = p/η",
        ),
        "local_sgd": Method(
            label="local SGD",
            control="exchanges per step 1/K",
            algorithm=lambda config: algorithms.AdaptThenCombine(**_common(config)),
            values=_frequencies,
            options=_every_rounds,
            pull=_per_round,
            sense="in the mean over a period: 1/(ηK)",
        ),
        "choco_sgd": Method(
            label="CHOCO-SGD, top-k",
            control="consensus step ζ",
            algorithm=lambda config: algorithms.ChocoSGD(compressor=TopK(config.fraction), **_common(config)),
            # Sorting takes twenty times as long as learning: every other value.
            values=lambda config: _shares(config)[::2],
            swept="consensus_step",
            pull=_per_round,
            sense="nominal: of uncompressed copies, as adapt then combine",
        ),
        "federated_participation": Method(
            label="federated averaging",
            control="fraction of agents per round",
            algorithm=_federated,
            values=lambda config: tuple(count / config.num_agents for count in config.participants),
            options=_participation,
        ),
        "federated_server_rate": Method(
            label="federated averaging",
            control="server rate",
            algorithm=_federated,
            values=lambda config: config.server_rates,
            swept="server_rate",
        ),
    }
)
"""All methods, by name. Another one is another entry."""


def _triadic(config: PhaseDiagram, pull: float) -> float:
    return pull * config.num_agents / (config.num_agents - 2)
