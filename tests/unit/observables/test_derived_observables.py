"""Indices, learning path and transitions, on matrices and curves whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from consilience.errors import InvalidSpec
from consilience.observables import (
    binder_cumulant,
    column_index,
    critical_coupling,
    cumulative_cross_accuracy,
    effective_rank,
    final_coupling,
    halfway,
    r_squared,
    rank_one,
    susceptibility,
    symmetry_index,
)

RANDOM = np.random.default_rng(0)
PAIR = ("agent", "agent_evaluated")


def matrix(values):
    return xr.DataArray(np.asarray(values, float), dims=("coupling",) * (np.ndim(values) - 2) + PAIR)


def test_symmetry_index_against_numpy_and_its_extremes():
    values = RANDOM.normal(size=(6, 6))
    off = ~np.eye(6, dtype=bool)
    expected = np.corrcoef(values[off], values.T[off])[0, 1]
    assert float(symmetry_index(matrix(values))) == pytest.approx(expected, abs=1e-12)  # one correlation in doubles
    assert float(symmetry_index(matrix(values + values.T))) == pytest.approx(1, abs=1e-12)
    assert float(symmetry_index(matrix(values - values.T))) == pytest.approx(-1, abs=1e-12)


def test_column_index_is_the_share_of_variance_between_columns():
    columns, noise = RANDOM.normal(size=50), RANDOM.normal(size=(50, 50))
    pure = np.tile(columns, (50, 1))
    assert float(column_index(matrix(pure))) == pytest.approx(1, abs=1e-12)
    assert float(column_index(matrix(pure.T))) < 0.05  # rows only: columns differ by the missing diagonal, O(1/N²)
    # Equal variances: half of the variance lies between columns; its spread over 50 columns is about 0.1.
    assert float(column_index(matrix(pure / columns.std() + noise / noise.std()))) == pytest.approx(0.5, abs=0.2)


def test_indices_of_several_matrices_and_of_constant_ones():
    values = RANDOM.normal(size=(3, 5, 5))
    values[1] = 0.25
    values[2, 0, 1] = np.nan
    symmetry, column = symmetry_index(matrix(values)), column_index(matrix(values))
    assert symmetry.dims == column.dims == ("coupling",)
    assert np.isfinite(symmetry[0])
    assert np.isfinite(column[0])
    assert np.isnan(symmetry[1:]).all()
    assert np.isnan(column[1:]).all()


def test_indices_ignore_the_diagonal():
    values = RANDOM.normal(size=(5, 5))
    other = values + np.diag(RANDOM.normal(size=5) * 100)
    for index in (symmetry_index, column_index):
        # The threshold for constant matrices scales with the largest entry; the values do not change.
        assert float(index(matrix(values))) == pytest.approx(float(index(matrix(other))), abs=1e-12)


def test_learning_path_of_a_rank_one_world():
    u, v = RANDOM.normal(size=4), RANDOM.normal(size=4)
    couplings = [0.0, 1.0, 3.0]
    cross = xr.DataArray(
        np.outer(u, v) * np.array([0.0, 1.0, 2.0])[:, None, None],
        dims=("coupling", *PAIR),
        coords={"coupling": couplings},
    )
    path = cumulative_cross_accuracy(cross)
    np.testing.assert_allclose(path, np.outer(u, v) * (0.5 * 1 + 1.5 * 2), rtol=1e-12)  # trapezoids by hand
    np.testing.assert_allclose(rank_one(path), path, rtol=1e-10, atol=1e-12)
    assert effective_rank(path) == pytest.approx(1, abs=1e-10)
    assert r_squared(path, -2 * path + 1) == pytest.approx(1, abs=1e-12)
    with pytest.raises(InvalidSpec, match="at least two"):
        cumulative_cross_accuracy(cross.isel(coupling=[0]))
    with pytest.raises(InvalidSpec, match="increasing"):
        cumulative_cross_accuracy(cross.isel(coupling=[1, 0]))


def test_rank_one_is_the_best_in_the_least_squares_sense():
    values = RANDOM.normal(size=(4, 4))
    best = np.linalg.norm(values - rank_one(matrix(values)).values)
    assert best == pytest.approx(np.sqrt((np.linalg.svd(values, compute_uv=False)[1:] ** 2).sum()), abs=1e-10)


def test_susceptibility_and_binder_of_known_distributions():
    ordered = xr.DataArray(np.array([1.0, -1.0] * 50), dims="seed")
    assert float(susceptibility(ordered, num_agents=100)) == pytest.approx(0)
    assert float(binder_cumulant(ordered)) == pytest.approx(2 / 3)
    gaussian = xr.DataArray(RANDOM.normal(size=200_000) * 0.1, dims="seed")
    # For a Gaussian, U = 0 and χ = N s² (1 − 2/π); standard errors at this size are about 0.003 and 0.3 %.
    assert float(binder_cumulant(gaussian)) == pytest.approx(0, abs=0.02)
    assert float(susceptibility(gaussian, num_agents=100)) == pytest.approx(1 - 2 / np.pi, rel=0.02)


def curve(*rows):
    return xr.DataArray(np.array(rows).T, dims=("coupling", "seed"), coords={"coupling": [0.0, 1.0, 10.0, 100.0]})


def test_critical_coupling_interpolates_in_the_logarithm():
    found = critical_coupling(curve([0.1, 0.1, 0.3, 0.9]), threshold=0.2)
    assert found.value == pytest.approx(np.sqrt(10.0))
    assert found.bracket == (1.0, 10.0)
    assert np.isnan(found.interval).all()


def test_critical_coupling_from_zero_is_linear():
    assert critical_coupling(curve([0.1, 0.3, 0.3, 0.9]), threshold=0.2).value == pytest.approx(0.5)


def test_critical_coupling_that_is_never_or_always_exceeded():
    never = critical_coupling(curve([0.1, 0.1, 0.1, 0.1]), threshold=0.2)
    assert np.isnan(never.value)
    assert "not reached below σ = 100" in str(never)
    assert critical_coupling(curve([0.3, 0.3, 0.3, 0.3]), threshold=0.2).value == 0


def test_bootstrap_interval_covers_the_spread_of_realizations():
    random = np.random.default_rng(1)
    # Realization k crosses 0.5 at 10^(c_k), c_k ~ N(1, 0.1): the mean curve crosses near 10.
    couplings = np.geomspace(0.1, 1000, 81)
    centres = 1 + 0.1 * random.normal(size=20)
    values = 1 / (1 + np.exp(-8 * (np.log10(couplings)[:, None] - centres)))
    quantity = xr.DataArray(values, dims=("coupling", "seed"), coords={"coupling": couplings})
    found = critical_coupling(quantity, threshold=0.5)
    low, high = found.interval
    assert low < found.value < high
    # The standard error of the mean centre is 0.1/√20 = 0.022 decades; a 95 % interval is about 4 of them wide.
    assert 2 * 0.022 < np.log10(high / low) < 6 * 0.022
    assert found.num_realizations == 20


def test_diverged_realizations_are_left_out():
    found = critical_coupling(curve([0.1, 0.1, 0.3, np.nan], [np.nan] * 4), threshold=0.2)
    assert found.num_realizations == 1
    assert found.value == pytest.approx(np.sqrt(10.0))


def test_critical_coupling_refuses_what_it_cannot_read():
    with pytest.raises(InvalidSpec, match="dimensions"):
        critical_coupling(curve([0.1, 0.1, 0.3, 0.9]).expand_dims("agent"), threshold=0.2)
    with pytest.raises(InvalidSpec, match="increase"):
        critical_coupling(curve([0.1, 0.1, 0.3, 0.9]).isel(coupling=[1, 0, 2, 3]), threshold=0.2)


def test_final_coupling_is_the_last_crossing():
    # Above, below and above again: the phase ends where the curve falls for good.
    found = final_coupling(curve([0.1, 0.9, 0.1, 0.1]), threshold=0.3)
    assert found.value == pytest.approx(10**0.75)  # 0.3 lies three quarters of the way from 0.9 to 0.1
    assert found.bracket == (1.0, 10.0)
    couplings = [0.0, 1.0, 10.0, 100.0, 1000.0]
    twice = xr.DataArray([0.9, 0.1, 0.9, 0.5, 0.1], dims="coupling", coords={"coupling": couplings})
    assert final_coupling(twice, threshold=0.3).value == pytest.approx(10**2.5)
    assert critical_coupling(twice, threshold=0.3).value == 0


def test_a_phase_that_ends_before_the_first_coupling_above_zero():
    assert final_coupling(curve([0.9, 0.1, 0.1, 0.1]), threshold=0.3).value == pytest.approx(0.75)  # linear from 0


def test_final_coupling_that_is_never_or_always_exceeded():
    never = final_coupling(curve([0.1, 0.1, 0.1, 0.1]), threshold=0.2)
    assert np.isnan(never.value)
    assert never.bracket == (100.0, np.inf)
    assert str(never) == "not reached below σ = 100"
    always = final_coupling(curve([0.1, 0.3, 0.3, 0.3]), threshold=0.2)
    assert np.isinf(always.value)
    assert str(always) == "beyond σ = 100"


def test_final_coupling_has_an_interval_over_realizations():
    random = np.random.default_rng(1)
    # The mirror image of the test of the first crossing: realization k falls through 0.5 at 10^(c_k), c_k ~ N(1, 0.1).
    couplings = np.geomspace(0.1, 1000, 81)
    centres = 1 + 0.1 * random.normal(size=20)
    values = 1 / (1 + np.exp(8 * (np.log10(couplings)[:, None] - centres)))
    quantity = xr.DataArray(values, dims=("coupling", "seed"), coords={"coupling": couplings})
    found, mirrored = final_coupling(quantity, threshold=0.5), critical_coupling(1 - quantity, threshold=0.5)
    assert found.value == pytest.approx(mirrored.value, rel=1e-9)  # the same interpolation, in doubles
    assert found.interval == pytest.approx(mirrored.interval, rel=1e-9)
    assert found.interval[0] < found.value < found.interval[1]
    assert found.num_realizations == 20
    # Half of the realizations never fall: so do half of the means over resampled ones, or nearly.
    some = final_coupling(curve([0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]), threshold=0.4)
    assert np.isinf(some.value)
    assert some.interval[0] < 100
    assert np.isinf(some.interval[1])


def test_strings_say_what_is_known():
    assert str(critical_coupling(curve([0.1, 0.1, 0.3, 0.9]), threshold=0.2)) == "3.16 (grid 1 – 10)"
    both = critical_coupling(curve([0.1, 0.1, 0.3, 0.9], [0.1, 0.1, 0.3, 0.9]), threshold=0.2)
    assert str(both) == "3.16 (grid 1 – 10; 95 % 3.16 – 3.16, n = 2)"
    # One of two never crosses: the interval has no upper end.
    half = critical_coupling(curve([0.1, 0.1, 0.9, 0.9], [0.1] * 4), threshold=0.2)
    assert half.interval == (pytest.approx(10**0.125), np.inf)
    assert str(half) == "1.78 (grid 1 – 10; 95 % 1.33 – ∞, n = 2)"


def test_halfway_between_the_first_and_the_largest_mean():
    assert halfway(curve([0.1, 0.9, 0.7, 0.2])) == pytest.approx(0.5)
    assert halfway(curve([0.1, 0.9, 0.7, 0.2], [0.3, 0.3, 0.3, 0.2])) == pytest.approx(0.4)  # of means .2 and .6
    assert halfway(curve([0.1, 0.9, 0.7, 0.2]), share=0.25) == pytest.approx(0.3)
    assert halfway(curve([0.9, 0.2, 0.1, 0.1])) == 0.9  # nothing rises above the first
    assert halfway(curve([-3.0, -2.0, -1.0, -5.0])) == -2
    assert halfway(curve([0.1, 0.9, 0.7, 0.2], [np.nan] * 4)) == pytest.approx(0.5)
    renamed = curve([0.1, 0.9, 0.7, 0.2]).rename(coupling="width", seed="draw")
    assert halfway(renamed, coupling="width", over="draw") == pytest.approx(0.5)
    # As a threshold it does not depend on scale and offset.
    quantity = curve([0.1, 0.2, 0.7, 0.9])
    first, second = (critical_coupling(q, threshold=halfway(q)).value for q in (quantity, 5 - 3 * (1 - quantity)))
    assert first == pytest.approx(second, rel=1e-12)


def test_final_coupling_refuses_what_it_cannot_read():
    with pytest.raises(InvalidSpec, match="Average over agents and select a depth first"):
        final_coupling(curve([0.1, 0.1, 0.3, 0.9]).expand_dims("agent"), threshold=0.2)
    with pytest.raises(InvalidSpec, match="increase"):
        final_coupling(curve([0.1, 0.1, 0.3, 0.9]).isel(coupling=[1, 0, 2, 3]), threshold=0.2)
