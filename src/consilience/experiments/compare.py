"""Theory against simulation: agreement as numbers, with their uncertainty.

Both sides are reduced to the same two questions: at which coupling does learning become collective, and in which order
are the agents' data learned by the others? What is compared comes from code that the other side does not use: the
simulated populations know no δ, and the theory no network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.stats
import xarray as xr

from consilience.axes import AGENT, AGENT_EVALUATED
from consilience.errors import InvalidSpec
from consilience.observables import CriticalCoupling, critical_coupling, halfway
from consilience.randomness import Purpose, generator

_NUM_PERMUTATIONS = 9999


def known_by_others(cross_accuracy: xr.DataArray) -> xr.DataArray:
    """How well the others know the data of agent j: the mean of column j of A_x without the agent itself.

    Args:
        cross_accuracy: dimensions (..., agent, agent_evaluated).

    Returns:
        Dimensions (..., agent): j, whose data are evaluated.

    Example:
        >>> a = xr.DataArray([[1.0, 0.2], [0.4, 1.0]], dims=("agent", "agent_evaluated"))
        >>> known_by_others(a).values.tolist()
        [0.4, 0.2]
    """
    matrix = cross_accuracy.transpose(..., AGENT, AGENT_EVALUATED)
    own = np.eye(matrix.sizes[AGENT], matrix.sizes[AGENT_EVALUATED], dtype=bool)
    others = matrix.where(~xr.DataArray(own, dims=(AGENT, AGENT_EVALUATED)))
    return others.mean(AGENT).rename({AGENT_EVALUATED: AGENT})


def earliness(known: xr.DataArray) -> xr.DataArray:
    """How early data become known as the coupling grows: the mean of `known` over the logarithm of the coupling.

    Needs no threshold, and so ranks all agents, also those whose data are never known well. σ = 0 is left out.

    Args:
        known: dimensions (coupling, ...), from `known_by_others`; couplings in increasing order, two above 0 at least.

    Returns:
        The other dimensions; the earlier, the larger. NaN where replicas diverged.

    Raises:
        InvalidSpec: for fewer than two couplings above 0, or couplings that do not increase.

    Example:
        >>> known = xr.DataArray([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]], dims=("coupling", "agent"),
        ...                      coords={"coupling": [1.0, 10.0, 100.0]})
        >>> earliness(known).values.tolist()
        [0.75, 0.25]
    """
    positive = known.where(known.coupling > 0, drop=True).transpose("coupling", ...)
    if positive.sizes["coupling"] < 2:
        raise InvalidSpec("The order of learning needs two couplings above 0 at least. Sweep over more of them.")
    logs = np.log(positive.coupling.values)
    if (np.diff(logs) <= 0).any():
        raise InvalidSpec(
            f"The couplings {known.coupling.values.tolist()} must increase. Sort the data set by coupling."
        )
    values = np.trapezoid(positive.values, logs, axis=0) / (logs[-1] - logs[0])
    return xr.DataArray(values, dims=positive.dims[1:])


@dataclass(frozen=True)
class Agreement:
    """A rank correlation, and how sure it is.

    Attributes:
        value: Spearman's ρ between prediction and the mean measurement over realizations; NaN if either is constant.
        interval: 95 % bootstrap interval over the things that are ranked and over realizations.
        p_value: share of 9999 random permutations and the given order with a correlation at least as large. The null is
            that the prediction has nothing to do with the measurement.
        num_ranked: how many things are ranked.
        reproducibility: mean ρ between pairs of realizations of the measurement: what a perfect prediction could
            expect of a single realization; NaN for one.
    """

    value: float
    interval: tuple[float, float]
    p_value: float
    num_ranked: int
    reproducibility: float

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.2f} (95 % {low:.2f} – {high:.2f}, p = {self.p_value:.2g}, n = {self.num_ranked})"


def rank_agreement(
    predicted: np.ndarray, measured: np.ndarray, *, num_bootstrap: int = 2000, seed: int = 0
) -> Agreement:
    """Spearman's rank correlation of a prediction with measurements of several realizations.

    Args:
        predicted: shape (n,).
        measured: shape (realizations, n).
        num_bootstrap: resamplings of realizations and of the n things together.
        seed: of the resampling and of the permutations.

    Raises:
        InvalidSpec: for fewer than three things, or lengths that differ.

    Example:
        >>> rank_agreement(np.arange(5.0), np.arange(5.0)[None]).value
        1.0
    """
    predicted, measured = np.asarray(predicted, dtype=float), np.atleast_2d(np.asarray(measured, dtype=float))
    if predicted.ndim != 1 or measured.shape[1:] != predicted.shape or len(predicted) < 3:
        raise InvalidSpec(
            f"A prediction of shape {predicted.shape} and measurements of shape {measured.shape} cannot be ranked "
            "against each other: give (n,) and (realizations, n), with n = 3 at least."
        )
    n, realizations = len(predicted), len(measured)
    random = generator(seed, Purpose.BOOTSTRAP)
    value = _spearman(predicted, measured.mean(axis=0))
    draws = []
    for _ in range(num_bootstrap):
        who, which = random.integers(n, size=n), random.integers(realizations, size=realizations)
        draws.append(_spearman(predicted[who], measured[which].mean(axis=0)[who]))
    interval = tuple(np.nanquantile(draws, [0.025, 0.975])) if np.isfinite(draws).any() else (np.nan, np.nan)
    pairs = [_spearman(measured[a], measured[b]) for a in range(realizations) for b in range(a)]
    return Agreement(
        value=value,
        interval=interval,
        p_value=_permutation_p_value(predicted, measured.mean(axis=0), value, random),
        num_ranked=n,
        reproducibility=float(np.nanmean(pairs)) if np.isfinite(pairs).any() else np.nan,
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(_centred_ranks(a) @ _centred_ranks(b))


def _centred_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks less their mean, of unit length; NaN if all are equal."""
    ranks = scipy.stats.rankdata(values)
    deviations = ranks - ranks.mean()
    norm = np.sqrt((deviations**2).sum())
    return deviations / norm if norm > 0 else np.full(len(values), np.nan)


def _permutation_p_value(a: np.ndarray, b: np.ndarray, value: float, random: np.random.Generator) -> float:
    if np.isnan(value):
        return np.nan
    shuffled = random.permuted(np.tile(_centred_ranks(a), (_NUM_PERMUTATIONS, 1)), axis=1)
    # Ties differ by rounding only, and count as at least as large.
    as_large = int((shuffled @ _centred_ranks(b) >= value - 1e-12).sum())
    return (as_large + 1) / (_NUM_PERMUTATIONS + 1)


def measured_onset(accuracy: xr.DataArray) -> CriticalCoupling:
    """Where accuracy, averaged over agents, has come half of its way from σ = 0 to its largest value.

    The rule by which `TransitionPrediction` finds the predicted onset.

    Args:
        accuracy: dimensions (coupling, seed, agent).

    Example:
        >>> accuracy = xr.DataArray([[[0.1]], [[0.9]]], dims=("coupling", "seed", "agent"),
        ...                         coords={"coupling": [1.0, 100.0]})
        >>> round(measured_onset(accuracy).value, 6)
        10.0
    """
    mean = accuracy.mean(AGENT)
    return critical_coupling(mean, threshold=halfway(mean))


def ordering_agreement(predicted: np.ndarray, measured: np.ndarray) -> tuple[float, float, int]:
    """Kendall's τ between predicted and measured critical couplings, its two-sided p-value, and how many pairs count.

    Args:
        predicted: NaN or infinite where the theory sees no transition: left out.
        measured: of the same shape; what is not finite is left out.

    Returns:
        τ (NaN for fewer than three, or if either side is constant), p under the null of no association (exact, unless
        there are ties), n.

    Example:
        >>> ordering_agreement(np.array([1.0, 2.0, 3.0, np.nan]), np.array([5.0, 6.0, 9.0, 1.0]))[::2]
        (1.0, 3)
    """
    both = np.isfinite(predicted) & np.isfinite(measured)
    n = int(both.sum())
    if n < 3:
        return np.nan, np.nan, n
    result: Any = scipy.stats.kendalltau(predicted[both], measured[both])
    return float(result.statistic), float(result.pvalue), n
