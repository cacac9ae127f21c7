"""Finite-size analysis against the exactly solvable Curie–Weiss ferromagnet, from whose exact law M is drawn.

N spins with energy −(K/2) N M² order at K_c = 1 with β = 1/2, γ = 1 and ν̄ = 2. At K_c, x = N^(1/4) M has the density
exp(−x⁴/12) for N → ∞, which fixes the universal value of the Binder cumulant.
"""

from __future__ import annotations

from math import comb, gamma, pi

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import xarray as xr

from consilience.observables import Estimate, binder_crossing, data_collapse, scaling_exponent, susceptibility

UNIVERSAL = 1 - gamma(1 / 4) ** 4 / (24 * pi**2)
SIZES = (256, 1024, 4096)


def law(num_spins: int, coupling: float) -> tuple[np.ndarray, np.ndarray]:
    """The values of M, and their probabilities: binomial coefficients times Boltzmann weights."""
    up = np.arange(num_spins + 1)
    magnetization = (2 * up - num_spins) / num_spins
    logarithm = -scipy.special.betaln(1 + up, 1 + num_spins - up) + coupling * num_spins * magnetization**2 / 2
    weights = np.exp(logarithm - logarithm.max())
    return magnetization, weights / weights.sum()


def exact_cumulant(num_spins: int, coupling: float) -> float:
    magnetization, p = law(num_spins, coupling)
    return float(1 - (p * magnetization**4).sum() / (3 * (p * magnetization**2).sum() ** 2))


def exact_crossing(small: int, large: int) -> float:
    difference = lambda coupling: exact_cumulant(large, coupling) - exact_cumulant(small, coupling)  # noqa: E731
    return scipy.optimize.root_scalar(difference, bracket=(0.98, 1.1)).root


def ensemble(sizes, couplings, num_realizations: int, *, seed: int) -> xr.DataArray:
    """Independent draws of M."""
    random = np.random.default_rng(seed)
    draws = [
        [random.choice(magnetization, num_realizations, p=p) for magnetization, p in (law(n, k) for k in couplings)]
        for n in sizes
    ]
    return xr.DataArray(
        np.array(draws), {"num_agents": list(sizes), "coupling": couplings}, ("num_agents", "coupling", "seed")
    )


def agrees(estimate: Estimate, truth: float, correction: float = 0.0) -> bool:
    """Whether the truth lies within twice the 95 % interval, that is some four standard errors, and a correction.

    Null: the estimate is right up to the correction; a right one fails with a probability of 1e-4 per seed.
    """
    low, high = estimate.interval
    return abs(estimate.value - truth) < (high - low) + correction


# ---- the model ---------------------------------------------------------------------------------------------------


def test_the_law_counts_configurations():
    magnetization, p = law(6, 0.7)
    weights = [comb(6, k) * np.exp(0.7 * 6 * ((2 * k - 6) / 6) ** 2 / 2) for k in range(7)]
    np.testing.assert_allclose(p, np.array(weights) / sum(weights), rtol=1e-12)  # a few roundings
    assert magnetization[0] == -1


def test_the_universal_binder_cumulant():
    moments = [
        scipy.integrate.quad(lambda x, n=n: x**n * np.exp(-(x**4) / 12), -np.inf, np.inf, epsabs=1e-13)[0]
        for n in (0, 2, 4)
    ]
    by_quadrature = 1 - moments[2] * moments[0] / (3 * moments[1] ** 2)
    assert by_quadrature == pytest.approx(UNIVERSAL, abs=1e-10)  # quadrature to 1e-13, a few operations
    assert pytest.approx(0.270520, abs=1e-6) == UNIVERSAL
    # The next term of the logarithm of the binomial, −N M⁶/30, is of order N^(−1/2): a fourfold N halves the distance.
    distances = [exact_cumulant(n, 1.0) - UNIVERSAL for n in (1000, 4000, 16_000)]
    assert distances[0] / distances[1] == pytest.approx(
        2, rel=0.05
    )  # the next correction, of relative order 1000^(−1/2)
    assert distances[1] / distances[2] == pytest.approx(2, rel=0.025)


# ---- the crossing ------------------------------------------------------------------------------------------------


def test_binder_cumulants_cross_at_the_critical_coupling():
    """Null: crossings and cumulants are those of the exact laws. 2000 draws per point, seed 0."""
    found = binder_crossing(ensemble(SIZES, np.linspace(0.88, 1.12, 13), 2000, seed=0), num_bootstrap=200)
    assert found.exists
    for pair in found.pairs:
        exact = exact_crossing(*pair.sizes)
        assert agrees(pair.at, exact)
        assert agrees(pair.at, 1.0, correction=abs(exact - 1))
        cumulant = exact_cumulant(pair.sizes[0], exact)
        assert agrees(pair.cumulant, cumulant)
        assert agrees(pair.cumulant, UNIVERSAL, correction=abs(cumulant - UNIVERSAL))
    # The exact crossings, 1.0041 and 1.0010, approach K_c: at finite N there is a drift, too small to be seen here.
    first, second = (exact_crossing(*pair.sizes) for pair in found.pairs)
    assert agrees(found.drift, (second - first) / np.log(4))


@pytest.mark.slow
def test_intervals_of_the_crossing_cover_it():
    """Null: 95 % intervals cover the exact crossing in 95 % of 40 ensembles, standard error 3.4 %; seeds 0 to 39."""
    truth = exact_crossing(256, 1024)
    crossings = [
        binder_crossing(ensemble((256, 1024), np.linspace(0.88, 1.12, 13), 2000, seed=seed), num_bootstrap=200)
        for seed in range(40)
    ]
    intervals = [found.pairs[0].at.interval for found in crossings if found.exists]
    assert len(intervals) > 30  # the others have no significant crossing
    assert np.mean([low <= truth <= high for low, high in intervals]) > 0.95 - 3 * 0.034


# ---- exponents ---------------------------------------------------------------------------------------------------


def exact_susceptibility(num_spins: int, coupling: float) -> float:
    magnetization, p = law(num_spins, coupling)
    return num_spins * float((p * magnetization**2).sum() - (p * abs(magnetization)).sum() ** 2)


@pytest.mark.slow
def test_exponents_of_the_critical_point():
    """Null: the exponents are those of mean field, or those of the exact laws. 2000 draws per point, seed 1."""
    sizes, couplings = (1000, 4000, 16_000, 64_000), np.linspace(0.99, 1.05, 13)
    magnetization = ensemble(sizes, couplings, 2000, seed=1)
    critical = magnetization.sel(coupling=1.0, method="nearest")
    order = scaling_exponent(critical)
    assert agrees(order, -1 / 4)
    assert order.quality < 5  # χ² per degree of freedom of two: 5 is exceeded with a probability of exp(−5)

    def fluctuation(m: xr.DataArray) -> xr.DataArray:
        return susceptibility(m, num_agents=m.num_agents)

    # Exact slopes between consecutive sizes are 0.507, 0.504 and 0.502.
    assert agrees(scaling_exponent(critical, fluctuation), 1 / 2, correction=0.004)
    peak = scaling_exponent(magnetization, lambda m: fluctuation(m).max("coupling"), num_bootstrap=200)
    exact = [max(exact_susceptibility(n, k) for k in couplings) for n in sizes]
    assert agrees(peak, float(np.polyfit(np.log(sizes), np.log(exact), 1)[0]))


def test_the_exponent_of_the_order_parameter():
    """Against M = tanh(K M), the limit N → ∞; and drawn for 100,000 spins, 100 draws per coupling, seed 2."""
    couplings = np.linspace(1.02, 1.08, 7)
    solution = [scipy.optimize.brentq(lambda m, k=k: np.tanh(k * m) - m, 1e-3, 1, xtol=1e-14) for k in couplings]
    limit = xr.DataArray(solution, {"coupling": couplings}, "coupling")
    exact = scaling_exponent(limit, against="coupling", critical=1.0)
    # M² = 3t (1 − 9t/5 + …): the local exponent is 1/2 − 9t/10, with t = K − 1 from 0.02 to 0.08.
    assert 0.5 - 0.9 * 0.08 < exact.value < 0.5 - 0.9 * 0.02
    assert exact.window == pytest.approx((0.02, 0.08))
    assert np.isnan(exact.interval).all()
    near = limit.assign_coords(coupling=couplings).isel(coupling=slice(0, 3))
    assert exact.value < scaling_exponent(near, against="coupling", critical=1.0).value < 0.5
    drawn = scaling_exponent(
        ensemble([100_000], couplings, 100, seed=2).isel(num_agents=0), against="coupling", critical=1.0
    )
    # χ = 1/(2t) around the two states: ⟨|M|⟩ lacks of order χ/(N M²) ~ 1/(6 t² N) = 0.4 % at t = 0.02, less above.
    assert agrees(drawn, exact.value, correction=0.004 / np.log(4))


# ---- collapse ----------------------------------------------------------------------------------------------------


def test_the_order_parameter_collapses():
    """Null: K_c, β/ν̄ and 1/ν̄ of mean field. 400 draws per point, seed 3; |K − 1| √N is at most 8."""
    magnetization = ensemble((1000, 4000, 16_000, 64_000), np.linspace(0.97, 1.03, 25), 400, seed=3)
    collapse = data_collapse(magnetization, num_bootstrap=30)
    assert agrees(collapse.critical, 1.0)
    # Corrections to scaling of relative order N^(−1/2), as for the exponents, over a range of 4.2 in log N.
    assert agrees(collapse.beta_over_nu, 1 / 4, correction=0.03 / 4.2)
    assert agrees(collapse.one_over_nu, 1 / 2, correction=0.03 / 4.2)
    # S is a mean of some 80 squares of normal variables, three of them fitted: 1 ± √(2/80).
    assert 0.5 < collapse.quality < 1.5
