"""The quenched disorder of real data: δ_i = ⟨x̂ŷ⟩ and s_i = ⟨x̂²⟩ of every agent's shard, for stated projections x̂, ŷ.

Appendix A of paper 001 takes data to be one-dimensional and white. Real data are neither, so a definition is needed,
and predictions depend on it. Ours, with ⟨·⟩_i the mean over agent i's samples, ⟨·⟩ the mean of those over agents (every
agent counts the same, as in ⟨δ⟩, however many samples it has), and Ŵ_i a matrix of unit Frobenius norm:

    C = ⟨x xᵀ⟩,  x̃ = (C + λI)^(−1/2) x,  λ = ridge · tr C / dim x                ridge-regularised whitening
    Σ = ⟨y x̃ᵀ⟩ = Σ_k s_k v_k u_kᵀ                                               everybody's input–output correlation
    δ_i = ⟨yᵀ Ŵ_i x̃⟩_i / c,   s_i = ⟨‖Ŵ_i x̃‖²⟩_i / c²,   c² = mean_i ⟨‖Ŵ_i x̃‖²⟩_i   the s_i have mean 1, as (A11) asks

These are what is left of the squared loss of a linear network on agent i's data if its weights are m_i Ŵ_i:
‖m_i Ŵ_i x̃ − y‖² has the mean ⟨‖Ŵ_i x̃‖²⟩_i m_i² − 2⟨yᵀ Ŵ_i x̃⟩_i m_i + ⟨‖y‖²⟩_i, which is (A12). A definition chooses Ŵ:

    top    v_1 u_1ᵀ: x̂ = u_1·x̃ and ŷ = v_1·y for the top singular pair of Σ
    own    v_i u_iᵀ, a pair for each agent: v_i is the direction of its own targets (with one class per agent, the
           one-hot vector of its class; in general the top left singular vector of ⟨y x̃ᵀ⟩_i Σᵀ), u_i = Σᵀv_i / ‖Σᵀv_i‖
    all    Σ / ‖Σ‖: all pairs, with the weights that they have in the solution of everybody's data

The first and the last are one direction for all agents, as the coupling, which compares m_i with m_j, wants it; with
"own", m_i and m_j are amplitudes of different things. "top" needs s_1 to stand out: with one class per agent it hardly
does (s_2² is .95 s_1² on MNIST), and which direction is on top then depends on the centring and on the ridge. Nothing
changes when a pair changes its sign, nor when the inputs are rotated or multiplied by a constant.

Everything is measured on the samples that the agents train on, where a regression with many inputs and few samples fits
noise too: a larger ridge makes δ smaller and closer to that of new samples.

No whitened input is formed: Σx̃ = ⟨y xᵀ⟩(C + λI)⁻¹x = f(x) is the output of the ridge regression of everybody's data,
and all of the above are second moments of f and y on the shards.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
import xarray as xr

from consilience.axes import AGENT
from consilience.errors import DataError, InvalidSpec, UnknownName
from consilience.tasks import Shards, Task
from consilience.theory.landau.disorder_moments import (
    CENTRINGS,
    Array,
    OutputMoments,
    Population,
    Regressions,
    RidgeFit,
    all_samples,
    gather,
    output_moments,
    refit_without_groups,
    ridge_fit,
    second_moments,
    without_group,
)

PROJECTIONS = ("top", "own", "all")
DEFINITION = "definition"
DEFINITION_COMPARED = "definition_compared"
GROUP = "group"

_UNEXPLAINED = 1e-12
"""Share of ‖Σ‖² below which ‖Σᵀv‖² is rounding (1e-16 of it), so that u has no direction."""


@dataclass(frozen=True)
class DisorderDefinition:
    """What x̂ and ŷ are.

    Args:
        centring: "global": inputs and targets relative to their means over agents, as networks with biases may take
            them (and softmax ignores what all logits share); "none": inputs and targets as they are.
        ridge: λ relative to the mean eigenvalue of C, > 0. Small: a direction of the inputs counts by how well it
            predicts; large: also by how much of their variance it carries.
        projection: "top", "own" or "all"; see the module's docstring.

    Raises:
        InvalidSpec: the ridge is not a positive number.
        UnknownName: there is no such centring or projection.

    Example:
        >>> DisorderDefinition(projection="own").name
        'global/0.1/own'
    """

    centring: str = "global"
    ridge: float = 0.1
    projection: str = "all"

    def __post_init__(self) -> None:
        if self.centring not in CENTRINGS:
            raise UnknownName.among("centring", self.centring, CENTRINGS)
        if self.projection not in PROJECTIONS:
            raise UnknownName.among("projection", self.projection, PROJECTIONS)
        ridge = self.ridge
        if isinstance(ridge, bool) or not isinstance(ridge, (int, float, np.number)) or not 0 < ridge < np.inf:
            raise InvalidSpec(
                f"ridge={ridge!r}: whitening divides by the spectrum of the inputs plus the ridge, and images have "
                "pixels that never vary. Write a positive number, relative to the mean eigenvalue: ridge=0.1, or 1e-6 "
                "for practically none."
            )
        object.__setattr__(self, "ridge", float(ridge))

    @property
    def name(self) -> str:
        """Its three parts, as in "global/0.1/top"."""
        return f"{self.centring}/{self.ridge:g}/{self.projection}"


DEFINITIONS: Mapping[str, DisorderDefinition] = MappingProxyType(
    {
        definition.name: definition
        for definition in itertools.starmap(
            DisorderDefinition, itertools.product(CENTRINGS, (0.01, 0.1, 1.0), PROJECTIONS)
        )
    }
)
"""The definitions over which predictions are varied: centring × ridge × projection, 18 of them."""


def measure_disorder(
    task: Task,
    shards: Shards,
    definition: DisorderDefinition = DisorderDefinition(),
    *,
    num_groups: int = 20,
) -> xr.Dataset:
    """δ_i and s_i of the agents' shards under one definition, with standard errors.

    Args:
        task: classification (targets are one-hot vectors) or regression; its training samples are used.
        shards: the agents' data; every agent has some.
        definition: of the projections.
        num_groups: G of the jackknife that gives the errors, see `leave_group_out`: they are themselves known to a
            relative 1/√(2(G − 1)).

    Returns:
        Dimension "agent": `delta` (δ_i) and `second_moment` (s_i, of mean 1), each with an `_error` (NaN for an agent
        with a single sample), and `target_second_moment` (⟨ŷ²⟩_i: the effective loss of an agent that predicts nothing,
        the constant dropped in (A13)). Attributes: the definition, `ridge_absolute` (λ), `share` (‖ΣᵀV‖²/‖Σ‖², the part
        of Σ_k s_k² within the projection; for "own" the mean over agents), the names of task and shards.

    Raises:
        DataError: inputs or targets are not finite, do not vary, or are uncorrelated; "own" has no direction.
        InvalidSpec: an agent has no data; `num_groups` is no whole number from 2.
        IncompatiblePair: the shards are not of this task.

    Example:
        >>> from consilience.tasks import by_class, load
        >>> task = load("digits")
        >>> disorder = measure_disorder(task, by_class(task, num_agents=10))
        >>> bool(disorder["delta"].mean() > 0), round(float(disorder["second_moment"].mean()), 12)
        (True, 1.0)

    Source:
        Paper 001, Eq. (4) and Appendix A.
    """
    _check_num_groups(num_groups)
    population = gather(task, shards)
    fit = ridge_fit(population, second_moments(population), definition.centring, definition.ridge)
    disorder = _project(definition.projection, output_moments(population, fit.regression, all_samples))
    result = _dataset(disorder, DEFINITION).isel({DEFINITION: 0})
    replicates = _leave_group_out(population, fit, definition, num_groups)
    for name in ("delta", "second_moment"):
        error = jackknife_error(replicates[name]).where(xr.DataArray(shards.sizes > 1, dims=AGENT))
        description, units = _VARIABLES[name]
        result[f"{name}_error"] = error.assign_attrs(long_name=f"standard error of the {description}", units=units)
    attributes = {"ridge_absolute": fit.penalty, "share": float(disorder.share[0]), "task": task.name}
    return result.drop_vars("share").assign_attrs(asdict(definition), **attributes, shards=shards.name)


def leave_group_out(
    task: Task,
    shards: Shards,
    definition: DisorderDefinition = DisorderDefinition(),
    *,
    num_groups: int = 20,
) -> xr.Dataset:
    """The disorder measured G times, each time without one of G groups of samples: how sure is what follows from it?

    Each agent's samples are shuffled and dealt to the groups. Means, regression, projections and scale are measured
    anew without each group (the regression by one Newton step from that of all samples). The `jackknife_error` of any
    function of the disorder, evaluated for each group, is its standard error; samples count as independent, and the
    agents as given. An agent with n < G samples gets an error that is too large, by √(n/(n − 1)) at most.

    Args:
        task: as in `measure_disorder`, which also says what is raised.
        shards: the agents' data.
        definition: of the projections.
        num_groups: G.

    Returns:
        `delta`, `second_moment` and `target_second_moment`, dimensions ("group", "agent").

    Example:
        >>> from consilience.tasks import by_class, load
        >>> task = load("digits")
        >>> replicates = leave_group_out(task, by_class(task, num_agents=10))
        >>> mean = replicates["delta"].mean("agent")            # or a critical coupling, computed from each
        >>> 0 < float(jackknife_error(mean)) < 0.02
        True

    Source:
        B. Efron, The Jackknife, the Bootstrap and Other Resampling Plans, SIAM 1982.
    """
    _check_num_groups(num_groups)
    population = gather(task, shards)
    fit = ridge_fit(population, second_moments(population), definition.centring, definition.ridge)
    return _leave_group_out(population, fit, definition, num_groups)


def jackknife_error(values: xr.DataArray) -> xr.DataArray:
    """√((G − 1)/G · Σ_g (v_g − v̄)²), the standard error of a quantity from its values without each of G groups.

    Args:
        values: dimensions ("group", ...).

    Returns:
        The dimensions of `values` without "group".

    Example:
        >>> import xarray as xr
        >>> float(jackknife_error(xr.DataArray([1.0, 3.0], dims="group")))      # of the mean of 1 and 3
        1.0
    """
    return ((values.sizes[GROUP] - 1) * values.var(GROUP)) ** 0.5


def disorder_variants(
    task: Task, shards: Shards, definitions: Mapping[str, DisorderDefinition] = DEFINITIONS
) -> xr.Dataset:
    """The disorder under several definitions, for little more than the price of one.

    Args:
        task: as in `measure_disorder`, which also says what is raised.
        shards: the agents' data.
        definitions: by name.

    Returns:
        `delta`, `second_moment`, `target_second_moment` (dimensions "definition", "agent") and `share` ("definition",),
        all as in `measure_disorder`. There are no errors here: definitions differ by far more.

    Example:
        >>> from consilience.tasks import by_class, load
        >>> task = load("digits")
        >>> disorder_variants(task, by_class(task, num_agents=10))["delta"].shape
        (18, 10)
    """
    if not definitions:
        raise InvalidSpec("There are no definitions to compare. Leave them out for the 18 of DEFINITIONS.")
    population = gather(task, shards)
    moments = second_moments(population)
    kinds = list(dict.fromkeys((d.centring, d.ridge) for d in definitions.values()))
    # A list of the regressions alone: the factors would take (features²) each.
    regressions = Regressions.stack([ridge_fit(population, moments, *kind).regression for kind in kinds])
    outputs = output_moments(population, regressions, lambda n: all_samples(n).repeat(len(kinds), axis=0))
    parts = [_project(d.projection, outputs.row(kinds.index((d.centring, d.ridge)))) for d in definitions.values()]
    result = _dataset(_Disorder(*map(np.concatenate, zip(*parts, strict=True))), DEFINITION)
    return result.assign_coords({DEFINITION: list(definitions)}).assign_attrs(task=task.name, shards=shards.name)


def rank_agreement(variants: xr.Dataset) -> xr.DataArray:
    """Spearman's rank correlation between the δ_i of every two definitions: do they order the agents alike?

    Args:
        variants: from `disorder_variants`, with two agents or more.

    Returns:
        Dimensions ("definition", "definition_compared"), in [−1, 1]; NaN where all agents have the same δ.

    Raises:
        InvalidSpec: there is no dimension "definition", or a single agent.

    Example:
        >>> from consilience.tasks import by_class, load
        >>> task = load("digits")
        >>> agreement = rank_agreement(disorder_variants(task, by_class(task, num_agents=10)))
        >>> float(agreement.sel(definition="none/1/all", definition_compared="none/1/all").round(12))
        1.0
    """
    delta = variants["delta"]
    if set(delta.dims) != {DEFINITION, AGENT} or delta.sizes[AGENT] < 2:
        raise InvalidSpec(
            f"δ has the dimensions {dict(delta.sizes)}; rankings are compared between definitions, over two agents or "
            "more. Give what disorder_variants returns."
        )
    ranks = scipy.stats.rankdata(delta.transpose(DEFINITION, AGENT).values, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1)
    with np.errstate(invalid="ignore"):  # 0/0 where there is no order
        correlation = ranks @ ranks.T / np.outer(norms, norms)
    names = variants[DEFINITION].values
    return xr.DataArray(
        correlation.clip(-1, 1),
        {DEFINITION: names, DEFINITION_COMPARED: names},
        (DEFINITION, DEFINITION_COMPARED),
        name="rank_agreement",
        attrs={"long_name": r"rank correlation of $\delta$", "units": "1"},
    )


class _Disorder(NamedTuple):
    """Each of shape (measurements, agents), the share (measurements,)."""

    delta: Array
    second_moment: Array
    target_second_moment: Array
    share: Array


_VARIABLES = {
    "delta": (r"input–output correlation $\delta_i$", "targets"),
    "second_moment": ("second moment of the input $s_i$", "1"),
    "target_second_moment": (r"second moment of the target $\langle\hat y^2\rangle_i$", "targets²"),
    "share": ("share of the squared singular values", "1"),
}


def _dataset(disorder: _Disorder, dimension: str) -> xr.Dataset:
    result = xr.Dataset(coords={AGENT: np.arange(disorder.delta.shape[1])})
    for name, values in disorder._asdict().items():
        description, units = _VARIABLES[name]
        result[name] = ((dimension, AGENT)[: values.ndim], values, {"long_name": description, "units": units})
    return result


def _project(projection: str, moments: OutputMoments) -> _Disorder:
    """δ, s, ⟨ŷ²⟩ and the share from the moments of f = Σx̃ and y: for Ŵ = VVᵀΣ/‖VᵀΣ‖, Ŵx̃ is VVᵀf/‖VᵀΣ‖."""
    correlation = moments.target_output.mean(axis=1, keepdims=True)  # ⟨y fᵀ⟩ = ΣΣᵀ
    correlation = (correlation + correlation.mT) / 2
    total = np.trace(correlation, axis1=2, axis2=3)
    basis = _basis(projection, moments.target_output, correlation)

    def within(moment: Array) -> Array:
        return (basis * (moment @ basis)).sum(axis=(-2, -1))

    squared_norm = within(np.broadcast_to(correlation, moments.target_output.shape))
    lost = (squared_norm <= _UNEXPLAINED * total).any(axis=0)
    if lost.any():
        raise DataError(
            f"What agent {int(lost.argmax())}'s inputs say of its targets is undone by what the other agents' say, so "
            'that "own" finds no projection for it. Use projection="top" or "all".'
        )
    second_moment = within(moments.output_output) / squared_norm
    scale = second_moment.mean(axis=1, keepdims=True)
    delta = within(moments.target_output) / np.sqrt(squared_norm * scale)
    share = squared_norm.mean(axis=1) / total[:, 0]
    return _Disorder(delta, second_moment / scale, within(moments.target_target), share)


def _basis(projection: str, target_output: Array, correlation: Array) -> Array:
    """V: orthonormal columns in the space of targets, shape (measurements, agents, outputs, 1 or outputs)."""
    shape = target_output.shape
    if projection == "top":
        return np.broadcast_to(np.linalg.eigh(correlation)[1][..., -1:], (*shape[:-1], 1))
    if projection == "own":
        return np.linalg.svd(target_output)[0][..., :1]
    return np.broadcast_to(np.eye(shape[-1]), shape)


def _leave_group_out(
    population: Population, fit: RidgeFit, definition: DisorderDefinition, num_groups: int
) -> xr.Dataset:
    regressions = refit_without_groups(population, fit, definition.centring, definition.ridge, num_groups)
    moments = output_moments(population, regressions, lambda n: without_group(n, num_groups))
    return _dataset(_project(definition.projection, moments), GROUP).drop_vars("share")


def _check_num_groups(num_groups: Any) -> None:
    if isinstance(num_groups, bool) or not isinstance(num_groups, (int, np.integer)) or num_groups < 2:
        raise InvalidSpec(
            f"num_groups={num_groups!r}: the jackknife leaves out one of at least two groups of samples. Write "
            "num_groups=20, say."
        )
