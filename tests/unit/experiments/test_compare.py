"""Agreement of theory and simulation: on invented measurements, against SciPy, and its error rates by simulation."""

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.experiments import (
    Agreement,
    earliness,
    known_by_others,
    measured_onset,
    ordering_agreement,
    rank_agreement,
)
from consilience.experiments.compare import _NUM_PERMUTATIONS

RANDOM = np.random.default_rng(0)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    result: Any = scipy.stats.spearmanr(a, b)
    return result.statistic


# ---- what is measured --------------------------------------------------------------------------------------------


def test_what_others_know_is_the_column_without_its_agent() -> None:
    values = RANDOM.normal(size=(3, 4, 4))
    cross = xr.DataArray(values, dims=("coupling", "agent", "agent_evaluated"), coords={"coupling": [0.0, 1.0, 2.0]})
    expected = np.array([[np.delete(matrix[:, j], j).mean() for j in range(4)] for matrix in values])
    for given in (cross, cross.transpose("agent_evaluated", "coupling", "agent")):
        known = known_by_others(given)
        assert known.dims == ("coupling", "agent")
        np.testing.assert_allclose(known, expected, rtol=1e-12)  # means of three doubles
    # With names of agents, j is the one whose data are evaluated.
    named = cross.assign_coords(agent=list("abcd"), agent_evaluated=list("abcd"))
    np.testing.assert_allclose(known_by_others(named).sel(agent="c"), expected[:, 2], rtol=1e-12)
    own = np.eye(4) * 100
    np.testing.assert_allclose(known_by_others(cross + xr.DataArray(own, dims=("agent", "agent_evaluated"))), expected)


def test_what_diverged_is_not_known() -> None:
    cross = xr.DataArray(np.ones((2, 3, 3)), dims=("seed", "agent", "agent_evaluated"))
    known = known_by_others(cross.where(xr.DataArray([True, False], dims="seed")))
    assert known.values.tolist()[0] == [1.0, 1.0, 1.0]
    assert np.isnan(known[1]).all()


def curve(*rows: list[float], coupling: tuple[float, ...] = (0.0, 1.0, 10.0, 100.0)) -> xr.DataArray:
    """One agent per row."""
    return xr.DataArray(np.array(rows).T, dims=("coupling", "agent"), coords={"coupling": list(coupling)})


def test_earliness_is_the_mean_over_the_logarithm_of_the_coupling() -> None:
    # Trapezoids over two decades of equal width; what is known at σ = 0 does not count.
    known = curve([9.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0], [-9.0, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(earliness(known), [0.75, 0.25, 0.2], rtol=1e-12)
    seeds = xr.concat([known, 2 * known], dim="seed")
    both = earliness(seeds.transpose("agent", "coupling", "seed"))
    assert set(both.dims) == {"agent", "seed"}
    np.testing.assert_allclose(both.transpose("seed", "agent"), [[0.75, 0.25, 0.2], [1.5, 0.5, 0.4]], rtol=1e-12)
    # Units of the coupling do not matter, and unequal steps have unequal weights: one decade against two.
    np.testing.assert_allclose(earliness(known.assign_coords(coupling=3 * known.coupling)), earliness(known))
    uneven = curve([0.0, 0.0, 1.0, 1.0], coupling=(0.0, 1.0, 10.0, 1000.0))
    assert float(earliness(uneven)[0]) == pytest.approx((0.5 * 1 + 1 * 2) / 3, rel=1e-12)


def test_earlier_data_have_the_larger_earliness() -> None:
    couplings = np.geomspace(0.1, 1000, 41)
    centres = np.array([2.0, 0.0, 1.0])
    known = 1 / (1 + np.exp(-4 * (np.log10(couplings)[:, None] - centres)))
    values = earliness(xr.DataArray(known, dims=("coupling", "agent"), coords={"coupling": couplings}))
    assert np.argsort(-values.values).tolist() == [1, 2, 0]
    # A step at decade c of four is known for the rest of them; the tails that are cut off are below 0.02.
    np.testing.assert_allclose(values, (3 - centres) / 4, atol=0.02)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (curve([0.1, 0.2], coupling=(0.0, 1.0)), "needs two couplings above 0 at least"),
        (curve([0.1, 0.2], coupling=(2.0, 1.0)), r"couplings \[2.0, 1.0\] must increase"),
        (curve([0.1, 0.2, 0.3], coupling=(1.0, 3.0, 2.0)), "must increase"),
    ],
)
def test_earliness_refuses_what_has_no_integral(known: xr.DataArray, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        earliness(known)


def test_the_measured_onset_is_half_way() -> None:
    shape = xr.DataArray([0.1, 0.1, 0.7, 0.5], dims="coupling", coords={"coupling": [0.0, 1.0, 10.0, 100.0]})
    agents = xr.DataArray([-0.05, 0.05, 0.0], dims="agent")
    seeds = xr.DataArray([-0.01, 0.01], dims="seed")
    found = measured_onset(shape + agents + seeds)
    assert found.value == pytest.approx(10**0.5, rel=1e-9)  # half-way between 0.1 and 0.7, in log σ; in doubles
    assert found.threshold == pytest.approx(0.4, abs=1e-12)
    assert found.num_realizations == 2
    assert found.interval[0] < found.value < found.interval[1]


# ---- rank correlation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [6, 0])
@pytest.mark.parametrize("realizations", [1, 3])
def test_the_correlation_is_that_of_scipy(realizations: int, decimals: int) -> None:
    """With ties, too: rounded to whole numbers, most of 12 values have an equal."""
    predicted = RANDOM.normal(size=12).round(decimals)
    measured = (predicted + RANDOM.normal(size=(realizations, 12))).round(decimals)
    found = rank_agreement(predicted, measured, num_bootstrap=200)
    expected = spearman(predicted, measured.mean(axis=0))
    assert found.value == pytest.approx(expected, abs=1e-12)  # the same sums in doubles
    assert found.num_ranked == 12
    one_sided = scipy.stats.permutation_test(
        (predicted,), lambda x: spearman(x, measured.mean(axis=0)), alternative="greater",
        permutation_type="pairings", n_resamples=2000, rng=np.random.default_rng(1),
    )  # fmt: skip
    # Two estimates of one probability, from 9999 and 2000 permutations: standard error of the difference below
    # √(.25/9999 + .25/2000) = 0.012.
    assert found.p_value == pytest.approx(one_sided.pvalue, abs=4 * 0.012)
    pairs = [spearman(a, b) for a, b in itertools.combinations(measured, 2)]
    assert found.reproducibility == pytest.approx(np.mean(pairs) if pairs else np.nan, abs=1e-12, nan_ok=True)


def test_perfect_and_reversed_orders() -> None:
    values = np.array([3.0, -1.0, 10.0, 0.5, 2.0, 7.0])
    same = rank_agreement(values, np.stack([values**3, 5 * values]))
    assert (same.value, same.reproducibility) == pytest.approx((1.0, 1.0))
    assert same.interval == pytest.approx((1.0, 1.0))
    # One of 720 orders agrees wholly: p = 1/720, of which 9999 permutations see a Poisson number of mean 13.9.
    assert same.p_value == pytest.approx((1 + 9999 / 720) / 10_000, abs=4 * np.sqrt(9999 / 720) / 10_000)
    reversed_ = rank_agreement(values, -values[None])
    assert reversed_.value == pytest.approx(-1)
    assert reversed_.p_value == 1
    assert np.isnan(reversed_.reproducibility)
    assert str(same) == f"1.00 (95 % 1.00 – 1.00, p = {same.p_value:.2g}, n = 6)"


def test_seeds_are_reproducible() -> None:
    predicted, measured = RANDOM.normal(size=8), RANDOM.normal(size=(2, 8))
    first, again, other = (rank_agreement(predicted, measured, seed=seed) for seed in (3, 3, 4))
    assert first == again
    assert first.value == other.value
    assert first.interval != other.interval


def test_what_is_constant_or_diverged_has_no_correlation() -> None:
    for predicted, measured in (
        (np.ones(5), np.arange(5.0)[None]),
        (np.arange(5.0), np.ones((2, 5))),
        (np.arange(5.0), np.array([[1.0, 2.0, np.nan, 4.0, 5.0]])),
    ):
        found = rank_agreement(predicted, measured, num_bootstrap=50)
        assert np.isnan([found.value, found.p_value, found.reproducibility]).all()


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [(np.zeros(2), np.zeros((1, 2))), (np.zeros(4), np.zeros((2, 3))), (np.zeros((2, 4)), np.zeros((2, 4)))],
    ids=str,
)
def test_shapes_that_cannot_be_ranked(predicted: np.ndarray, measured: np.ndarray) -> None:
    with pytest.raises(InvalidSpec, match=r"cannot be ranked against each other: give \(n,\) and \(realizations, n\)"):
        rank_agreement(predicted, measured)


@pytest.mark.slow
def test_p_values_are_uniform_where_there_is_nothing() -> None:
    """Null: predictions that have nothing to do with 10 things measured in three realizations.

    400 experiments, seeds 0 … 399. If p is uniform, the Kolmogorov–Smirnov distance exceeds 1.63/√400 = 0.081 in 1 % of
    such tests, and the share of p ≤ 0.05 has a standard error of √(.05 · .95/400) = 0.011.
    """
    values = []
    for seed in range(400):
        random = np.random.default_rng(seed)
        common, noise = random.normal(size=10), random.normal(size=(3, 10))
        values.append(rank_agreement(random.normal(size=10), common + noise, num_bootstrap=1, seed=seed).p_value)
    assert scipy.stats.kstest(values, "uniform").statistic < 0.081
    assert np.mean(np.array(values) <= 0.05) == pytest.approx(0.05, abs=3 * 0.011)


@pytest.mark.slow
def test_the_interval_covers_the_correlation_of_the_population() -> None:
    """Pairs of Gaussians of correlation .6, whose Spearman's ρ is (6/π) asin(.6/2) = .58; 30 things, 100 experiments.

    Null: the interval covers it in 95 %. The standard error of the share is √(.95 · .05/100) = 0.022, and three are
    allowed; a bootstrap of 30 things errs by less (193 of 200 were covered).
    """
    truth, covered = 6 / np.pi * np.arcsin(0.3), 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        x, noise = random.normal(size=(2, 30))
        low, high = rank_agreement(x, (0.6 * x + 0.8 * noise)[None], num_bootstrap=120, seed=seed).interval
        covered += low <= truth <= high
    assert abs(covered / 100 - 0.95) < 3 * 0.022


def test_more_realizations_of_noise_make_a_better_measurement() -> None:
    """The mean over realizations is ranked: ρ with the truth grows, while the realizations agree as before."""
    truth = np.arange(10.0)
    noise = np.random.default_rng(2).normal(scale=5, size=(50, 10))
    few, many = (rank_agreement(truth, truth + noise[:count], num_bootstrap=50) for count in (2, 50))
    assert many.value > 0.9
    assert many.value > few.value
    assert many.reproducibility < 0.6  # of single realizations: signal and noise variances 8 and 25, so about .25


# ---- orderings ---------------------------------------------------------------------------------------------------


def test_orderings_are_compared_where_both_are_known() -> None:
    predicted = np.array([[1.0, np.nan, 3.0], [2.0, 4.0, np.inf]])
    measured = np.array([[10.0, 0.0, 30.0], [40.0, 50.0, 0.0]])
    # (1, 10), (3, 30), (2, 40), (4, 50): five of six pairs agree. Of 24 orders of four things, 1 has six pairs in
    # agreement and 3 have five; two-sided, p = 8/24.
    tau, p, n = ordering_agreement(predicted, measured)
    assert (tau, n) == (pytest.approx(4 / 6), 4)
    assert p == pytest.approx(8 / 24)
    assert ordering_agreement(np.arange(5.0), -np.arange(5.0))[::2] == (pytest.approx(-1), 5)
    tau, p, n = ordering_agreement(np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0, 3.0]))
    assert np.isnan([tau, p]).all()
    assert n == 2
    assert np.isnan(ordering_agreement(np.ones(4), np.arange(4.0))[0])


def test_the_number_of_permutations_is_the_documented_one() -> None:
    assert f"share of {_NUM_PERMUTATIONS} random permutations" in (Agreement.__doc__ or "")
