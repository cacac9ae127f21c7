"""What finite-size scaling of the effective theory is predicted to show, against eigenvalues, quadrature and dynamics.

The predictions are those of `consilience.recipes.finite_size`; what they are held against does not use them.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.stats
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.observables import Estimate, binder_crossing, data_collapse, scaling_exponent, susceptibility
from consilience.recipes import finite_size
from consilience.theory import landau


def standard_error(estimate: Estimate) -> float:
    """A 95 % interval is 2 · 1.96 standard errors wide."""
    low, high = estimate.interval
    return (high - low) / 3.92


# ---- scaling functions -------------------------------------------------------------------------------------------


def test_the_cumulant_at_the_critical_point_is_one_minus_pi_over_three() -> None:
    def moment(power: int) -> float:
        return scipy.integrate.quad(lambda z: z**power * scipy.stats.norm.pdf(z), 0, np.inf)[0]

    # To the accuracy of adaptive quadrature.
    assert 1 - moment(2) / (3 * moment(1) ** 2) == pytest.approx(finite_size.UNIVERSAL_CUMULANT, abs=1e-8)
    assert finite_size.scaled_cumulant(np.array([0.0])) == pytest.approx(finite_size.UNIVERSAL_CUMULANT, abs=1e-14)
    square = np.maximum(np.random.default_rng(0).normal(size=10**6), 0)
    drawn = 1 - (square**2).mean() / (3 * square.mean() ** 2)
    # The relative variance of ⟨z₊²⟩ is 5/n, that of ⟨z₊⟩² is 4(π − 1)/n, and they are correlated: with n = 10⁶ the
    # standard error is below (π/3) √13.6/1000 = 0.0039.
    assert drawn == pytest.approx(finite_size.UNIVERSAL_CUMULANT, abs=4 * 0.0039)


@pytest.mark.parametrize("y", [-2.5, -1.0, 0.0, 0.7, 6.0])
def test_scaling_functions_are_moments_of_a_cut_gaussian(y: float) -> None:
    def moment(power: float) -> float:
        return scipy.integrate.quad(
            lambda z: (y + z) ** power * scipy.stats.norm.pdf(z), -y, 12, epsabs=1e-12, limit=200
        )[0]

    at = np.array([y])
    second, fourth = moment(1), moment(2)
    # The root at the end of the interval costs the quadrature some digits.
    assert finite_size.scaled_order(at) == pytest.approx(moment(0.5), rel=1e-7)
    assert finite_size.scaled_cumulant(at) == pytest.approx(1 - fourth / (3 * second**2), rel=1e-7)
    assert finite_size.scaled_susceptibility(at) == pytest.approx(second - moment(0.5) ** 2, rel=1e-6)


def test_far_from_the_critical_point_size_drops_out() -> None:
    y = np.array([50.0])
    # M² = s N^(−1/2)(y + z): ⟨|M|⟩ → x^(1/2) and χ → s²/4x, which is β = 1/2 and γ = 1; corrections are 1/y².
    assert finite_size.scaled_order(y) == pytest.approx(y**0.5, rel=1 / 50**2)
    assert finite_size.scaled_susceptibility(y) == pytest.approx(1 / (4 * y), rel=3 / 50**2)
    assert finite_size.scaled_cumulant(y) == pytest.approx(2 / 3, abs=1 / 50**2)


# ---- narrow disorder ---------------------------------------------------------------------------------------------


def top_eigenvalue_at_zero(delta: np.ndarray, coupling: float, weight_decay: float) -> float:
    """Of the Jacobian diag(δ − γ̂ − σ̂) + (σ̂/N) 11ᵀ, by a dense solver."""
    n = len(delta)
    return float(np.linalg.eigvalsh(np.diag(delta - weight_decay - coupling) + coupling / n).max())


def test_the_critical_mean_is_where_the_top_eigenvalue_of_a_large_sample_vanishes() -> None:
    std, coupling, weight_decay = 0.5, 5.0, 0.1
    # Quantiles in place of draws: a sample without fluctuations.
    deviations = std * scipy.stats.norm.ppf((np.arange(400) + 0.5) / 400)
    found = scipy.optimize.root_scalar(
        lambda mean: top_eigenvalue_at_zero(mean + deviations, coupling, weight_decay), bracket=(-0.2, 0.2), xtol=1e-6
    ).root
    predicted = finite_size.critical_mean(std=std, coupling=coupling, weight_decay=weight_decay)
    # The variance of 400 quantiles falls short by 0.3 %, the tails they leave out, and the mean shifts by s²/σ̂ of that.
    assert found == pytest.approx(predicted, abs=4e-3 * std**2 / coupling)
    # The first order γ̂ − s²/σ̂ is further off: the test tells the two apart.
    assert abs(weight_decay - std**2 / coupling - found) > 6e-3 * std**2 / coupling


@pytest.mark.parametrize("coupling", [0.5, 3.0, 30.0, 300.0])
def test_stability_of_samples_is_that_of_a_dense_solver(coupling: float) -> None:
    delta = landau.gaussian_disorder(40, 60, mean=-0.05, std=2.0, seed=4)
    for weight_decay in (0.0, 0.1):
        expected = [top_eigenvalue_at_zero(row, coupling, weight_decay) > 0 for row in delta]
        found = finite_size.is_unstable(delta, coupling=coupling, weight_decay=weight_decay)
        assert found.tolist() == expected
        assert coupling < 10 or 0 < found.sum() < 40


def test_every_sample_comes_to_rest_where_its_own_mean_and_variance_say() -> None:
    std, coupling, weight_decay = 0.2, 5.0, 0.05
    delta = landau.gaussian_disorder(60, 100, mean=weight_decay, std=std, seed=1)
    initial = landau.uniform_start(60, 100, offset=0.0, seed=1)
    m = finite_size.magnetization(delta, initial, coupling=coupling, weight_decay=weight_decay, spans=(4e3,))[0]
    predicted = np.maximum(delta.mean(-1) + delta.var(-1) / coupling - weight_decay, 0.0)
    # Corrections are of relative order s/σ̂ = 0.04 with small factors, and of absolute order 1/t near the threshold.
    np.testing.assert_allclose(m**2, predicted, rtol=0.02, atol=5e-4)
    assert 10 < (predicted == 0).sum() < 50
    assert m.min() < -0.05 < 0.05 < m.max()


@pytest.mark.slow
def test_narrow_disorder_has_the_exponents_of_mean_field() -> None:
    """Null: μ_c of the secular equation, U = 1 − π/3, β/ν̄ = 1/4, 1/ν̄ = 1/2, γ/ν̄ = 1/2.

    With a width, coupling and weight decay other than those of the recipe, 1500 to 3000 samples of each size from seed
    40, 160 and 640. Each of six numbers may lie three of its bootstrap standard errors from its prediction; by chance
    one of them does so in 2 % of all seeds.
    """
    std, coupling, weight_decay, sizes = 0.4, 8.0, 0.05, (40, 160, 640)
    critical = finite_size.critical_mean(std=std, coupling=coupling, weight_decay=weight_decay)
    means = critical + np.linspace(-2, 3, 11) * std / sizes[-1] ** 0.5
    parts = []
    for size, count in zip(sizes, (3000, 3000, 1500), strict=True):
        normal = landau.gaussian_disorder(count, size, std=1.0, seed=size)
        initial = landau.uniform_start(count, size, offset=0.0, seed=size)
        rows = [
            finite_size.magnetization(
                mean + std * normal, initial, coupling=coupling, weight_decay=weight_decay, spans=(3e3,)
            )[0]
            for mean in means
        ]
        parts.append(
            xr.DataArray(rows, {"mean": means, "seed": np.arange(count)}, ("mean", "seed")).to_dataset(name="m")
        )
    m = xr.concat(parts, dim=xr.Variable("num_agents", list(sizes)), join="outer").m

    crossing = binder_crossing(m, control="mean", num_bootstrap=200)
    collapse = data_collapse(m, control="mean", num_bootstrap=100)
    at_critical = m.isel(mean=4)
    assert crossing.exists
    assert not crossing.drifts
    assert (
        collapse.quality < 1.5
    )  # χ² of 33 points that share samples, divided by their number: 1 ± 0.25 if independent
    for estimate, predicted in (
        (crossing.pairs[-1].at, critical),
        (crossing.pairs[-1].cumulant, finite_size.UNIVERSAL_CUMULANT),
        (collapse.beta_over_nu, 1 / 4),
        (collapse.one_over_nu, 1 / 2),
        (scaling_exponent(at_critical), -1 / 4),
        (scaling_exponent(at_critical, lambda one: susceptibility(one, num_agents=one.num_agents)), 1 / 2),
    ):
        assert estimate.value == pytest.approx(predicted, abs=3 * standard_error(estimate))
        assert standard_error(estimate) < 0.1  # or anything would agree


@pytest.mark.parametrize("std", [0.0, 0.51, -0.1])
def test_disorder_that_is_not_narrow_has_no_critical_mean(std: float) -> None:
    with pytest.raises(InvalidSpec, match=r"disorder is narrow if no agent can order on its own.*at most coupling/10"):
        finite_size.critical_mean(std=std, coupling=5.0, weight_decay=1e-3)


# ---- wide disorder -----------------------------------------------------------------------------------------------


def response(field: float, coupling: float, std: float) -> float:
    """⟨m⟩/H of agents that solve κm + m³ = H with κ = σ̂ − δ, each in the well that it chose at random before.

    An agent with κ < 0 loses the well that faces the field where H > 2(|κ|/3)^(3/2).
    """
    offsets = np.geomspace(1e-12, 12 * std, 20_001)  # the integrand varies with log |κ|
    total = np.zeros(())
    for sign in (1.0, -1.0):
        kappa = sign * offsets
        m = np.full_like(kappa, (field + 10 * std) ** 0.5 + 4 * std)
        for _ in range(200):  # Newton's method from above the largest root falls monotonically
            m = m - (kappa * m + m**3 - field) / (kappa + 3 * m**2)
        mean = m.copy()
        if sign < 0:
            below = -m / 2 - np.sqrt(np.maximum(-kappa - 0.75 * m**2, 0))  # the lowest of the three roots
            keeps = field < 2 * (offsets / 3) ** 1.5
            mean = np.where(keeps, (m + below) / 2, m)
        density = scipy.stats.norm.pdf(coupling - kappa, scale=std)
        total += np.trapezoid(density * mean * offsets, np.log(offsets)) / field
    return float(total)


def test_the_response_of_wide_disorder_diverges_with_the_logarithm_of_the_field() -> None:
    std = 2.0
    for coupling in (1.0, 4.0):
        values = [response(field, coupling, std) for field in (1e-5, 1e-7, 1e-9)]
        slopes = np.diff(values) / np.log(100)
        # Corrections are of order H^(2/3): the width of the range of κ in which m is not proportional to H.
        np.testing.assert_allclose(slopes, scipy.stats.norm.pdf(coupling, scale=std), rtol=0.01)


def samples(size: int, count: int, coupling: float, span: float) -> np.ndarray:
    """M of wide disorder, without offset."""
    delta = landau.gaussian_disorder(count, size, std=2.0, seed=size)
    initial = landau.uniform_start(count, size, offset=0.0, seed=size)
    return finite_size.magnetization(delta, initial, coupling=coupling, weight_decay=1e-3, spans=(span,))[0]


@pytest.mark.slow
def test_by_a_fixed_time_large_populations_do_not_order() -> None:
    """Null: for N → ∞ at fixed t, M is Gaussian with a variance proportional to 1/N: U = 0, and √(N⟨M²⟩) stays.

    By t = 5 M has grown at most some twenty-fold, so that N = 12,500 is large. 60 samples of each size, from its seed:
    U has a standard error of √(24/60)/3 = 0.21 for Gaussian M, and √⟨M²⟩ a relative one of √(1/120) = 0.09.
    """
    order, cumulant = {}, {}
    for size in (100, 12_500, 50_000):
        m = samples(size, 60, coupling=3.5, span=5.0)
        order[size] = np.sqrt(size * (m**2).mean())
        cumulant[size] = 1 - (m**4).mean() / (3 * (m**2).mean() ** 2)
    assert cumulant[100] > 0.5  # what looks like order in a small population
    assert abs(cumulant[12_500]) < 3 * 0.21
    assert abs(cumulant[50_000]) < 3 * 0.21
    assert order[50_000] / order[12_500] == pytest.approx(1, abs=3 * 0.09 * np.sqrt(2))
    assert order[50_000] > 2.5 * order[100]


@pytest.mark.slow
def test_under_strong_coupling_fluctuations_grow_as_a_bias_does() -> None:
    """Null: √(N⟨M²⟩) = G · 2/√3, the width of M(0) times the growth of a bias, when no agent orders on its own.

    60 samples of N = 50,000 have a relative standard error of √(1/120) = 0.09; their ⟨δ⟩ add 0.01.
    """
    start = landau.uniform_start(1, 4096, offset=0.0, seed=3)
    growth = finite_size.magnetization(
        np.tile(landau.gaussian_disorder(1, 4096, std=2.0, seed=3), 2), np.concatenate([start, -start], -1) + 1e-6,
        coupling=30.0, weight_decay=1e-3, spans=(10.0,), rtol=1e-8, atol=1e-12,
    ).item() / 1e-6  # fmt: skip
    assert growth > 2  # there is something to compare
    m = samples(50_000, 60, coupling=30.0, span=10.0)
    assert np.sqrt(50_000 * (m**2).mean()) == pytest.approx(growth * 2 / np.sqrt(3), rel=3 * 0.09)
