"""Crossings, exponents and collapses of ensembles whose scaling is put in by hand; and of some that have none."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.observables import (
    binder_crossing,
    binder_cumulant,
    data_collapse,
    scaling_exponent,
    susceptibility,
)
from consilience.observables.resampling import resamples

SIZES = np.array([100, 200, 400, 800])
CONTROLS = np.linspace(-1.0, 1.0, 21)


def labelled(values, sizes=SIZES, controls=CONTROLS):
    return xr.DataArray(
        values, {"num_agents": np.asarray(sizes), "coupling": controls}, ("num_agents", "coupling", "seed")
    )


def two_states(scaled, *, num_realizations=1000, seed=0):
    """M = 1 with probability p = 0.2 + 0.8/(1 + e^(−scaled)), else 0: U = 1 − 1/(3p) grows with `scaled`."""
    p = 0.2 + 0.8 / (1 + np.exp(-scaled))
    random = np.random.default_rng(seed)
    return 1.0 * (random.uniform(size=(*scaled.shape, num_realizations)) < p[..., None])


def onset(at, **options):
    """M for scaled = (x − at(N)) √N/3: two sizes cross at `at`, if it is a constant."""
    shift = np.array([at(n) for n in SIZES])[:, None]
    return labelled(two_states((CONTROLS - shift) * np.sqrt(SIZES)[:, None] / 3, **options))


# ---- Binder crossing ---------------------------------------------------------------------------------------------


def test_a_common_crossing_is_found():
    """Null: all pairs cross at 0.1, where p = 0.6. 1000 realizations, seed 0."""
    found = binder_crossing(onset(lambda n: 0.1), num_bootstrap=100)
    assert found.exists
    assert [pair.sizes for pair in found.pairs] == [(100, 200), (200, 400), (400, 800)]
    cumulant = 1 - 1 / (3 * 0.6)
    for pair in found.pairs:
        # Twice the 95 % interval is some four standard errors.
        assert abs(pair.at.value - 0.1) < np.diff(pair.at.interval)
        assert abs(pair.cumulant.value - cumulant) < np.diff(pair.cumulant.interval)
        assert pair.at.interval[0] < pair.at.value < pair.at.interval[1]
        assert pair.contrast[0] < -pair.noise < pair.noise < pair.contrast[1]
    assert not found.drifts
    assert "all sizes cross, no drift" in str(found)


def test_independent_gaussians_do_not_cross():
    """Null: no transition. A false crossing of one pair needs two sides that noise reaches in 2.5 % each; 5 seeds."""
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=(4, 21, 100))
        found = binder_crossing(labelled(noise), num_bootstrap=100, seed=seed)
        assert not found.exists
        assert all(pair.found == 0 and np.isnan(pair.at.value) for pair in found.pairs)
        assert "no crossing" in str(found)
        assert np.isnan(found.drift.value)
        assert not found.drifts


def test_an_onset_that_recedes_has_no_crossing():
    """M = (1 + tanh(x − log N))/2 and noise of one strength for all N: the larger size is less ordered everywhere."""
    controls = np.linspace(2.0, 9.0, 21)
    order = (1 + np.tanh(controls - np.log(SIZES)[:, None])) / 2
    noise = 0.3 * np.random.default_rng(0).normal(size=(4, 21, 200))
    found = binder_crossing(labelled(order[..., None] + noise, controls=controls), num_bootstrap=100)
    assert not found.exists
    for pair in found.pairs:
        assert pair.contrast[0] < -pair.noise  # less ordered
        assert pair.contrast[1] < pair.noise  # and nowhere more
    assert "not all sizes cross" in str(found)


def test_a_crossing_that_drifts_is_said_to():
    """Neighbouring sizes do cross, at a control that grows with log N for ever."""
    found = binder_crossing(onset(lambda n: 0.1 * np.log(n / 300)), num_bootstrap=100)
    assert found.exists
    assert found.drifts
    # With s = √N/3, two sizes cross where (x − a₁)s₁ = (x − a₂)s₂: each step of log 2 in N moves that by 0.1 log 2.
    assert abs(found.drift.value - 0.1) < np.diff(found.drift.interval)  # some four standard errors
    assert "drifting" in str(found)


def test_the_significant_rise_counts_not_the_first_change_of_sign():
    """Below the transition the difference is noise and changes sign often; behind it, order ends again."""
    controls = np.linspace(-3.0, 3.0, 61)
    inside = np.where(controls < 1.0, controls, 2.0 - controls)  # order from 0 to 2
    table = labelled(two_states(inside * np.sqrt(SIZES)[:, None] / 3), controls=controls)
    cumulant = binder_cumulant(table).values
    changes = (np.diff(np.sign(np.diff(cumulant, axis=0)), axis=1) > 0).sum(axis=1)
    assert (changes > 3).all()
    mirrored = table.assign_coords(coupling=-controls).sortby("coupling")
    for analysed, begin in ((table, 0.0), (mirrored, -2.0)):
        for pair in binder_crossing(analysed, num_bootstrap=100).pairs:
            assert pair.found == 1
            assert abs(pair.at.value - begin) < np.diff(pair.at.interval)  # some four standard errors


def test_resamples_are_reproducible_and_the_order_of_dimensions_does_not_matter():
    table = onset(lambda n: 0.1)
    first = binder_crossing(table, num_bootstrap=50)
    assert first == binder_crossing(table, num_bootstrap=50)
    assert str(first) == str(binder_crossing(table.transpose("seed", "coupling", "num_agents"), num_bootstrap=50))
    assert first.pairs[0].at.interval != binder_crossing(table, num_bootstrap=50, seed=1).pairs[0].at.interval
    renamed = table.rename(coupling="depth", seed="draw", num_agents="agents")
    assert first == binder_crossing(renamed, control="depth", over="draw", size="agents", num_bootstrap=50)


def test_sizes_are_resampled_independently_and_controls_together():
    table = labelled(np.zeros((4, 21, 1)) + np.arange(50.0))
    table[2, :, 30:] = np.nan
    data, *drawn = resamples(table, size="num_agents", over="seed", num_bootstrap=3, seed=0)
    assert data.identical(table)
    for draw in drawn:
        np.testing.assert_array_equal(draw, draw.isel(coupling=[0] * 21))
        assert not np.array_equal(draw[0], draw[1])
        assert draw.count("seed")[:, 0].values.tolist() == [50, 50, 30, 50]
        assert len(np.unique(draw[0])) < 50  # drawn with replacement
    single = list(resamples(table.isel(num_agents=0), size="num_agents", over="seed", num_bootstrap=1, seed=0))
    assert single[1].dims == ("coupling", "seed")


def test_diverged_realizations_are_left_out():
    """Sizes with fewer realizations are padded with NaN; single entries that diverged do not count either."""
    table = onset(lambda n: 0.1)
    padded = table.where((table.num_agents < 400) | (xr.DataArray(np.arange(1000), dims="seed") < 500))
    large = {"num_agents": slice(2, 4)}
    shorter = binder_crossing(table.isel(large | {"seed": slice(0, 500)}), num_bootstrap=50)
    assert shorter.exists
    assert str(binder_crossing(padded.isel(large), num_bootstrap=50)) == str(shorter)  # but for rounding
    holes = table.copy()
    holes[1, 5, ::2] = np.nan
    assert binder_crossing(holes, num_bootstrap=50).exists
    with_holes, without = (binder_cumulant(t[1, 5, first:]) for t, first in ((holes, 0), (table[..., 1::2], 0)))
    assert float(with_holes) == pytest.approx(float(without), rel=1e-12)  # sums in another order


# ---- exponents ---------------------------------------------------------------------------------------------------


def test_an_exact_power_law():
    values = 3 * SIZES[:, None, None] ** -0.4 * np.ones((4, 1, 1))
    exact = labelled(values, controls=np.zeros(1)).isel(coupling=0, seed=0)
    found = scaling_exponent(exact)
    assert found.value == pytest.approx(-0.4, abs=1e-12)  # logarithms and a line in doubles
    assert found.amplitude == pytest.approx(3, abs=1e-11)
    assert found.window == (100, 800)
    assert np.isnan(found.interval).all()
    assert np.isnan(found.quality)
    assert str(found) == "-0.4 from 100 to 800"


@pytest.mark.slow
def test_the_slope_is_weighted_and_its_interval_covers():
    """Null: exponent −1/4, noise that differs between sizes; 95 % intervals of 60 data sets, standard error 2.8 %."""
    spread = np.array([0.02, 0.5, 0.1, 0.02])[:, None]
    covered, errors = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        values = SIZES[:, None] ** -0.25 * (1 + spread * random.normal(size=(4, 100)))
        table = labelled(values[:, None], controls=np.zeros(1)).isel(coupling=0)
        found = scaling_exponent(table, num_bootstrap=100, seed=seed)
        covered.append(found.interval[0] < -0.25 < found.interval[1])
        errors.append(found.value + 0.25)
    assert abs(np.mean(covered) - 0.95) < 3 * 0.028
    # Standard errors of log⟨M⟩ are spread/√100; that of the slope follows from weighted least squares.
    weights, x = 100 / spread[:, 0] ** 2, np.log(SIZES)
    centred = x - (weights * x).sum() / weights.sum()
    # The standard deviation of 60 values is known to 9 %.
    assert np.std(errors) == pytest.approx((weights * centred**2).sum() ** -0.5, rel=0.3)


def test_a_statistic_of_ones_own_and_a_control_to_run_against():
    random = np.random.default_rng(0)
    controls = np.linspace(1.0, 2.0, 6)
    values = (
        np.sqrt(controls - 0.5)[:, None]
        * random.choice([-1, 1], size=(4, 6, 200))
        * random.normal(1, 0.1, size=(4, 6, 200))
    )
    table = labelled(values, controls=controls)
    above = scaling_exponent(table.isel(num_agents=0), against="coupling", critical=0.5)
    assert above.interval[0] < 0.5 < above.interval[1]
    # From above and below a critical point it is the distance that counts.
    mirrored = table.assign_coords(coupling=-controls).sortby("coupling").isel(num_agents=0)
    below = scaling_exponent(mirrored, against="coupling", critical=-0.5)
    assert below.value == pytest.approx(above.value, abs=0.002)  # other resamples, so other weights
    # ⟨M⁴⟩ ~ M⁴, and several sizes at once.
    fourth = scaling_exponent(
        table, lambda m: (m**4).mean(["seed", "num_agents"]), against="coupling", critical=0.5, num_bootstrap=200
    )
    assert abs(fourth.value - 2) < np.diff(fourth.interval)  # some four standard errors
    # χ = N · variance: a variance that does not depend on N gives the exponent 1.
    peak = scaling_exponent(table, lambda m: susceptibility(m, num_agents=m.num_agents).max("coupling"))
    assert abs(peak.value - 1) < np.diff(peak.interval)  # some four standard errors
    assert peak.window == (100, 800)


# ---- collapse ----------------------------------------------------------------------------------------------------


def scaling_ensemble(*, seed=0, sizes=(100, 400, 1600), controls=CONTROLS / 5 + 1):
    """⟨M⟩ = N^(−0.2) (1 + tanh((x − 1) N^0.4 / 2))."""
    n = np.asarray(sizes)[:, None]
    order = n**-0.2 * (1 + np.tanh((controls - 1) * n**0.4 / 2))
    noise = 0.1 * np.random.default_rng(seed).normal(size=(*order.shape, 50))
    return labelled(order[..., None] * (1 + noise), sizes, controls)


def quality_by_hand(table, critical, beta_over_nu, one_over_nu):
    """S of Houdayer and Hartmann, point by point, with a library's straight line."""
    mean, n = abs(table).mean("seed").values, table.num_agents.values[:, None]
    error = abs(table).std("seed", ddof=1).values / np.sqrt(table.sizes["seed"])
    x, y, e = (table.coupling.values - critical) * n**one_over_nu, mean * n**beta_over_nu, error * n**beta_over_nu
    terms = []
    for i, j in np.ndindex(*x.shape):
        points = []
        for k in range(len(x)):
            right = int((x[k] < x[i, j]).sum())
            if k != i and 0 < right < x.shape[1]:
                points += [(k, right - 1), (k, right)]
        if points:
            px, py, pe = (np.array([a[p] for p in points]) for a in (x, y, e))
            design = np.stack([np.ones_like(px), px - x[i, j]], axis=1) / pe[:, None]
            line = np.linalg.lstsq(design, py / pe, rcond=None)[0][0]
            variance = np.linalg.inv(design.T @ design)[0, 0]
            terms.append((y[i, j] - line) ** 2 / (e[i, j] ** 2 + variance))
    return np.mean(terms)


def test_the_quality_is_that_of_houdayer_and_hartmann_and_least_at_the_result():
    table = scaling_ensemble()
    found = data_collapse(table, num_bootstrap=2)
    result = found.critical.value, found.beta_over_nu.value, found.one_over_nu.value
    assert found.quality == pytest.approx(quality_by_hand(table, *result), rel=1e-9)  # two ways to a straight line
    assert found.quality <= quality_by_hand(table, 1.0, 0.2, 0.4)
    for step in np.vstack([np.eye(3), -np.eye(3)]) * [0.005, 0.02, 0.02]:
        assert found.quality < quality_by_hand(table, *(result + step))


def test_the_scaling_put_in_is_found():
    """Null: x_c = 1, β/ν̄ = 0.2, 1/ν̄ = 0.4, one curve for all sizes. 50 realizations, seed 0."""
    found = data_collapse(scaling_ensemble(), num_bootstrap=40)
    for estimate, truth in ((found.critical, 1.0), (found.beta_over_nu, 0.2), (found.one_over_nu, 0.4)):
        assert abs(estimate.value - truth) < np.diff(estimate.interval)  # some four standard errors
        assert estimate.interval[0] < estimate.value < estimate.interval[1]
    assert 0.5 < found.quality < 1.5  # a mean of some 50 squares of normal variables, three fitted: 1 ± 0.2
    assert str(found).startswith("x_c = ")


def test_the_units_of_the_control_and_of_the_order_parameter_do_not_matter():
    table = scaling_ensemble()
    found = data_collapse(table, num_bootstrap=2)
    scaled = data_collapse(-1e3 * table.assign_coords(coupling=1e4 * table.coupling), num_bootstrap=2)
    # The same search in the same cube, to where it stops.
    assert scaled.critical.value == pytest.approx(1e4 * found.critical.value, rel=1e-3)
    assert scaled.beta_over_nu.value == pytest.approx(found.beta_over_nu.value, abs=1e-3)
    assert scaled.quality == pytest.approx(found.quality, rel=1e-3)


def test_curves_without_common_scaling_do_not_collapse():
    """The plateau falls by 1/N on one side, and not at all on the other."""
    n = SIZES[:, None]
    order = 1 + 0.5 * np.tanh(5 * CONTROLS) + (CONTROLS < 0) * 100 / n
    noise = 0.02 * np.random.default_rng(0).normal(size=(*order.shape, 50))
    assert data_collapse(labelled(order[..., None] + noise), num_bootstrap=2).quality > 10


def test_a_collapse_leaves_out_what_diverged():
    table = scaling_ensemble()
    table[0, 3, :10] = np.nan
    table[2, :, 30:] = np.nan
    found = data_collapse(table, num_bootstrap=10)
    assert abs(found.critical.value - 1) < 2 * np.diff(found.critical.interval)  # ten resamples: a rough interval
    assert found.quality < 1.5


# ---- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("analyse", [binder_crossing, data_collapse])
def test_ensembles_that_cannot_be_analysed(analyse):
    table = onset(lambda n: 0.1, num_realizations=5)
    with pytest.raises(InvalidSpec, match=r"num_agents=\[100\]: .* at least two"):
        analyse(table.isel(num_agents=[0]))
    with pytest.raises(InvalidSpec, match=r"coupling=\[.*increasing order"):
        analyse(table.isel(coupling=slice(None, None, -1)))
    with pytest.raises(InvalidSpec, match="each a number of agents"):
        analyse(table.drop_vars("num_agents"))
    with pytest.raises(InvalidSpec, match="dimensions"):
        analyse(table.isel(num_agents=0))
    with pytest.raises(InvalidSpec, match="dimensions"):
        analyse(table.expand_dims("depth"))
    with pytest.raises(InvalidSpec, match=r"num_agents=100, coupling=-1\.0"):
        analyse(table.isel(seed=[0]))
    table[2, 3, 1:] = np.nan
    with pytest.raises(InvalidSpec, match=r"Fewer than two .* for num_agents=400, coupling=-0\.7"):
        analyse(table)


def test_a_crossing_needs_resamples():
    with pytest.raises(InvalidSpec, match="num_bootstrap=1"):
        binder_crossing(onset(lambda n: 0.1), num_bootstrap=1)


def test_exponents_that_cannot_be_fitted():
    table = onset(lambda n: 0.1, num_realizations=5)
    at_one = table.isel(coupling=0)
    with pytest.raises(InvalidSpec, match="'depth' is none of them"):
        scaling_exponent(at_one, against="depth")
    with pytest.raises(InvalidSpec, match="one number for each 'num_agents'"):
        scaling_exponent(table)
    with pytest.raises(InvalidSpec, match="on one side"):
        scaling_exponent(table.isel(num_agents=0), against="coupling", critical=0.05)
    with pytest.raises(InvalidSpec, match="on one side"):
        scaling_exponent(at_one.isel(num_agents=[0]))
    with pytest.raises(InvalidSpec, match="positive number everywhere"):
        scaling_exponent(at_one, lambda m: -abs(m).mean("seed"))
    at_one[0, 1:] = np.nan
    with pytest.raises(InvalidSpec, match="finite for num_agents=100;"):
        scaling_exponent(at_one)


def test_collapses_that_cannot_be_fitted():
    table = scaling_ensemble()
    with pytest.raises(InvalidSpec, match=r"do not differ for num_agents=400, coupling=0\.8:"):
        data_collapse(table.where((table.num_agents != 400) | (table.coupling > 0.81), 1.0))
