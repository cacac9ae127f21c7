"""The finite-size study: its protocol, its analysis of invented results whose answer is known, and once end to end."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import consilience as cs
from consilience.errors import InvalidSpec
from consilience.experiments import Computation, compute
from consilience.recipes import finite_size, get
from consilience.recipes.finite_size import FiniteSize, Result
from consilience.recipes.finite_size.protocol import draws

# Populations of equal shapes share their compiled programs.
TINY = FiniteSize(
    pure_distances=(0.01, 0.1, 1.0), pure_agents=20, pure_realizations=3, narrow_sizes=(20, 80),
    narrow_distances=(-1.0, 0.0, 1.0, 2.0), narrow_realizations=(30, 20), narrow_spans=(500.0, 1000.0),
    wide_sizes=(20, 80), couplings=(0.0, 1.0, 4.0, 20.0, 100.0), wide_realizations=(30, 20), wide_spans=(10.0, 20.0),
    num_bootstrap=20,
)  # fmt: skip


# ---- protocols ---------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("finite-size")
    quick, default, full = (recipe.presets[name]() for name in ("quick", "default", "full"))
    assert default == full == FiniteSize()
    assert set(quick.wide_sizes) < set(default.wide_sizes)
    assert set(quick.narrow_sizes) < set(default.narrow_sizes)
    for config in (quick, default):
        assert config.couplings[0] == 0
        assert (config.weight_decay, config.wide_std, config.wide_spans[0]) == (1e-3, 2.0, 10.0)  # the paper's
        assert finite_size.sweeps(config) == {}
        assert finite_size.stem(config) == "finite-size"
        # No agent of narrow disorder orders on its own, by ten standard deviations.
        assert config.coupling >= 10 * config.narrow_std
    with pytest.raises(InvalidSpec, match=r"--dataset mnist: finite-size scaling .* uses no data"):
        finite_size.for_dataset(FiniteSize(), "mnist")


def test_the_documented_protocol_is_the_default() -> None:
    text = (pathlib.Path(__file__).parents[3] / "docs" / "finite-size.md").read_text(encoding="utf-8")
    config = FiniteSize()
    for kind, width in (("narrow", config.narrow_std), ("wide", config.wide_std)):
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {kind} ")]
        for values in (getattr(config, f"{kind}_sizes"), getattr(config, f"{kind}_realizations")):
            assert f"| {', '.join(map(str, values))} |" in row
        assert f", {width:g}²)" in row
        assert f"σ̂ = {config.coupling:g}" in row or kind == "wide"
    assert "10 and 1000" in row
    assert config.wide_spans == (10, 1000)
    assert config.narrow_spans[-1] == 1e4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"couplings": 5.0}, r"couplings=5\.0: these are several"),
        ({"couplings": (1.0, 0.5, 2.0)}, "these have to increase"),
        ({"couplings": ("a", "b", "c")}, r"these are values like 0\.0"),
        ({"couplings": (0.0, 1.0)}, "order sets in and ends"),
        ({"couplings": (-1.0, 0.0, 1.0)}, "two couplings from 0 up"),
        ({"wide_sizes": (50,)}, "2 or more"),
        ({"wide_sizes": (50, 100)}, r"wide_realizations=.* every size has a number of samples of its own"),
        ({"narrow_realizations": (100, 100, 100, 1)}, "a whole number from two up"),
        ({"narrow_realizations": ("a", "b", "c", "d")}, "two up"),
        ({"narrow_realizations": (10.5, 10, 10, 10)}, "two up"),
        ({"wide_realizations": 100}, r"wide_realizations=100 with wide_sizes"),
        ({"narrow_distances": (-1.0, 1.0)}, "exponents are measured at the critical mean"),
        ({"wide_spans": (1.0, 2.0, 3.0)}, "a short and a long time"),
        ({"narrow_std": 1.0}, "disorder is narrow if no agent can order on its own"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        FiniteSize(**changes)


def test_lists_and_floats_will_do() -> None:
    """What `--set` makes of numbers."""
    config = FiniteSize(wide_sizes=[50.0, 200.0], wide_realizations=[10.0, 5.0])  # pyright: ignore[reportArgumentType]
    assert config.wide_sizes == (50, 200)
    assert config.wide_realizations == (10, 5)
    assert all(isinstance(size, int) for size in config.wide_sizes)


def test_sizes_do_not_share_their_draws() -> None:
    """With one seed, the first agents of a large sample would be those of a small one, and sizes not independent."""
    for small, large in zip(draws(TINY, 20, 30), draws(TINY, 80, 30), strict=True):
        assert small.shape == (30, 20)
        assert not np.isin(small, large).any()
        # 600 pairs: three standard errors of 0.04.
        assert abs(np.corrcoef(small.ravel(), large[:, :20].ravel())[0, 1]) < 0.13


# ---- analysis of invented results --------------------------------------------------------------------------------

CONFIG = FiniteSize(
    narrow_sizes=(50, 200, 800), narrow_realizations=(3000, 3000, 2000), wide_sizes=(50, 200, 800),
    wide_realizations=(3000, 3000, 2000), num_bootstrap=50,
)  # fmt: skip


def invent(wide: Callable[[int, float, np.ndarray, float], np.ndarray]) -> Any:
    """Results by the predicted law, with wide disorder as the given function of (N, t, σ̂, z) makes it."""

    def execute(work: Computation) -> dict[str, xr.Dataset]:
        config, random = CONFIG, np.random.default_rng(0)

        def dataset(control: str, values: Any, spans: Any, rows: np.ndarray) -> xr.Dataset:
            coords = {"span": list(spans), control: np.array(values), "seed": np.arange(rows.shape[-1])}
            return xr.Dataset({"magnetization": (tuple(coords), rows)}, coords)

        means = config.weight_decay + np.array(config.pure_distances)
        pure = np.repeat(np.sqrt(means - config.weight_decay)[None, :, None], 3, axis=-1)
        done = {"pure": dataset("disorder_mean", means, (1e4,), pure)}
        x = config.narrow_means - config.critical_mean
        for size, count in zip(config.narrow_sizes, config.narrow_realizations, strict=True):
            z = random.normal(size=count)
            square = np.maximum(x[:, None] + config.narrow_std * z / size**0.5, 1e-12)
            rows = np.repeat(np.sqrt(square)[None], 2, axis=0) * random.choice([-1, 1], count)
            done[f"narrow,N={size}"] = dataset("disorder_mean", config.narrow_means, config.narrow_spans, rows)
        for size, count in zip(config.wide_sizes, config.wide_realizations, strict=True):
            z = random.normal(size=count)
            rows = np.array([[wide(size, t, z, sigma) for sigma in config.couplings] for t in config.wide_spans])
            done[f"wide,N={size}"] = dataset("coupling", config.couplings, config.wide_spans, rows)
        sigma = np.array(config.couplings)
        growth = np.where(sigma > 0, 100 * np.exp(-(np.log(np.maximum(sigma, 1e-9) / 5) ** 2)), 0.5)
        done["growth"] = xr.Dataset({"growth": ("coupling", growth)}, {"coupling": sigma})
        assert set(done) == set(work.cells)
        return done

    return execute


def window(size: int, span: float, z: np.ndarray, sigma: float) -> np.ndarray:
    """Order between σ̂ = 1 and 20, M² = (x + z/√N)₊ with x counted from either of them in log σ̂."""
    x = min(np.log(max(sigma, 1e-3)), np.log(20) - np.log(max(sigma, 1e-3)))
    random = np.random.default_rng(size)
    square = np.maximum(x + 3.5 * z / size**0.5, 0)
    return np.sqrt(square) * random.choice([-1, 1], len(z)) + 1e-3 * random.normal(size=len(z))


@pytest.fixture(scope="module")
def invented() -> Result:
    return finite_size.run(CONFIG, invent(window))


@pytest.mark.slow
def test_the_predicted_law_is_recovered(invented: Result) -> None:
    assert invented.exponent.value == pytest.approx(0.5, abs=1e-12)  # an exact power law, in doubles
    found = finite_size.exponents(invented)
    assert [name for _, name, _, _ in found][:3] == [
        "β", "μ_c, Binder crossing of the largest sizes", "U at that crossing",
    ]  # fmt: skip
    for _, name, predicted, one in found[1:]:
        low, high = one.interval
        # The width of the interval is four bootstrap standard errors: of seven numbers none is further off by chance.
        assert one.value == pytest.approx(predicted, abs=high - low), name
        assert low < one.value < high
    assert invented.at_rest.crossing.exists
    assert set(invented.by_narrow_span) == set(CONFIG.narrow_spans)


def test_onset_and_end_of_wide_disorder_are_analysed_apart(invented: Result) -> None:
    for found in invented.by_wide_span.values():
        assert found.onset.exists
        assert found.end.exists
        for crossing, edge in ((found.onset, 1), (found.end, 20)):
            for pair in crossing.pairs:
                low, high = pair.at.interval
                assert low <= pair.at.value <= high
                assert pair.at.value == pytest.approx(edge, rel=0.35)  # two couplings of the grid
        for size in CONFIG.wide_sizes[1:]:
            # The maximum is √log √20, half of it where x = (log 20)/8; interpolated between couplings.
            assert found.onsets[size].value == pytest.approx(20 ** (1 / 8), rel=0.1)
            assert found.ends[size].value == pytest.approx(20 ** (7 / 8), rel=0.1)
    verdicts = [line for line in finite_size.remarks(invented) if ": N = " in line]
    assert len(verdicts) == 4
    assert all("N = 50, 200 cross; N = 200, 800 cross; crossings move by" in line for line in verdicts)


def test_sizes_that_do_not_cross_are_said_not_to() -> None:
    def never(size: int, span: float, z: np.ndarray, sigma: float) -> np.ndarray:
        """The larger is the less ordered at short times, the more ordered at long ones."""
        share = (size / 50) ** (-0.5 if span == CONFIG.wide_spans[0] else 0.5) / 3
        return np.sign(z) * share * (sigma > 0) + 0.2 * z

    result = finite_size.run(CONFIG, invent(never))
    lines = [line for line in finite_size.remarks(result) if ": N = " in line]
    assert len(lines) == 4
    for line, word in zip(lines, ("lower", "lower", "higher", "higher"), strict=True):
        assert line.count(f"do not cross, the larger has the {word} U") == 2, line
    table = finite_size.tables(result)[1]
    assert {row[2] for row in table.rows if row[0].startswith("wide")} == {"–"}
    finite_size.draw(result)


def test_the_window_of_order_closes_where_growth_ends(invented: Result) -> None:
    # The invented growth is 100 at most, at σ̂ = 5, and falls off as a Gaussian in log σ̂.
    level = invented.by_wide_span[10.0].onsets[800].threshold
    assert finite_size.closing_size(invented) == pytest.approx(8e4 / (3 * np.pi * level**2), rel=0.02)  # a spline
    sizes = np.array([100.0, 1e4, 1e9])
    found = finite_size.ordered_window(invented, sizes)
    assert np.isnan(found[2]).all()
    half_width = np.sqrt(np.log(100 / (level * np.sqrt(3 * np.pi * sizes[:2] / 8))))
    np.testing.assert_allclose(found[:2], 5 * np.exp(half_width[:, None] * [-1, 1]), rtol=0.03)  # likewise


def test_without_growth_there_is_no_window(invented: Result) -> None:
    still = dataclasses.replace(invented, growth=0 * invented.growth)
    assert finite_size.closing_size(still) == 0
    assert np.isnan(finite_size.ordered_window(still, np.array([50.0]))).all()


def test_the_share_of_ordering_samples_follows_their_mean_disorder(invented: Result) -> None:
    counted, predicted = finite_size.ordering_share(invented, 100.0)
    # 2000 samples: three standard errors of 0.011, and corrections of relative order s/σ̂ = 0.02.
    assert counted == pytest.approx(predicted, abs=0.04)
    assert 0.55 < predicted < 0.95
    assert finite_size.ordering_share(invented, 1e6)[0] == pytest.approx(0.5, abs=0.04)


# ---- the figure --------------------------------------------------------------------------------------------------


def check_figure(figure: Figure, directory: pathlib.Path) -> None:
    found = {text.get_text(): axes for axes in figure.axes for text in axes.texts if len(text.get_text()) == 1}
    assert sorted(found) == list("abcdefgh")
    for name, axes in found.items():
        assert axes.get_xlabel(), name
        assert axes.get_ylabel(), name
        assert axes.get_title(), name
        assert axes.has_data(), name
    for path in cs.plots.save(figure, directory / "figures", "figure"):
        assert path.stat().st_size > 20_000


def test_the_figure_has_all_panels(invented: Result, tmp_path: pathlib.Path) -> None:
    figure = finite_size.draw(invented)
    check_figure(figure, tmp_path)
    assert "N(0, 2²)" in figure.get_suptitle()


@pytest.mark.slow
def test_from_end_to_end(tmp_path: pathlib.Path) -> None:
    execute: Any = functools.partial(compute, store=tmp_path / "store")
    result = finite_size.run(TINY, execute)
    assert result.narrow.sizes == {"num_agents": 2, "span": 2, "disorder_mean": 4, "seed": 30}
    assert result.narrow.sel(num_agents=80).count("seed").values.tolist() == [[20] * 4] * 2  # the rest is padding
    # √x of the pure system within what t = 1000 leaves at x = 0.01, e^(−2xt/2).
    np.testing.assert_allclose(abs(result.pure).mean("seed"), np.sqrt(TINY.pure_distances), rtol=1e-3)
    # A bias grows at intermediate couplings only.
    assert result.growth.values.argmax() == 2
    assert result.growth.values[2] > 100 > result.growth.values[3] > result.growth.values[4] > 1
    again = finite_size.run(TINY, execute)  # from the store
    assert [table.title for table in finite_size.tables(again)] == [table.title for table in finite_size.tables(result)]
    assert finite_size.remarks(again) == finite_size.remarks(result)
    check_figure(finite_size.draw(result), tmp_path)
