"""The phase diagram: the pull of each method measured, invented results, and methods that are one and the same."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import jax.numpy as jnp
import jax.random
import numpy as np
import pytest
import xarray as xr

import consilience as cs
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import Sweep, run_sweep
from consilience.recipes import get, phase_diagram
from consilience.recipes.phase_diagram import METHODS, PhaseDiagram, Result

TINY = PhaseDiagram(
    dataset="digits", pulls=(1.0, 10.0, 30.0, 100.0, 200.0), server_rates=(0.1, 1.0), participants=(1, 10),
    num_rounds=20, average_after=10, num_seeds=2, depth=0, observe_every=7, num_train=200, num_test=60,
    selectivity=0.0, fraction=0.5, local_steps=2,
)  # fmt: skip
COUPLED = [name for name, method in METHODS.items() if method.pull is not None]


# ---- protocols ---------------------------------------------------------------------------------------------------


def test_presets() -> None:
    recipe = get("phase-diagram")
    quick, default, full = (recipe.presets[name]() for name in ("quick", "default", "full"))
    assert default == PhaseDiagram()
    assert set(quick.methods) < set(default.methods) == set(full.methods) == set(METHODS)
    assert len(quick.pulls) < len(default.pulls) < len(full.pulls)
    for config in (quick, default, full):
        assert config.pulls[-1] == 1 / config.learning_rate  # up to full averaging
        is_prime = all(config.observe_every % k for k in range(2, config.observe_every))
        assert is_prime  # so that no period keeps step with it
        for name in config.methods:
            values = METHODS[name].values(config)
            assert list(values) == sorted(set(values))
            assert len(values) >= 3
    assert phase_diagram.stem(default) == "phase-diagram-mnist"
    assert phase_diagram.for_dataset(default, "digits").num_test is None


def test_the_documented_protocol_is_the_default() -> None:
    text = (pathlib.Path(__file__).parents[3] / "docs" / "comparing-algorithms.md").read_text(encoding="utf-8")
    config = PhaseDiagram()
    for phrase in (
        f"width {config.width}, η = {config.learning_rate:g}",
        f"B = {config.batch_size}",
        f"MNIST, {config.num_rounds:,} steps",
        f"the last {config.num_rounds - config.average_after:,}, {config.num_seeds} seeds",
        f"with {config.local_steps} local steps",
        f"top {100 * config.fraction:.0f} %",
        f"triadic coupling, λ = {config.selectivity:g}",
    ):
        assert phrase in text.replace("\n", " "), phrase


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pulls": 3.0}, "these are several"),
        ({"pulls": (1.0, 0.5)}, "positive and increase"),
        ({"pulls": (0.0, 0.5)}, "positive and increase"),
        ({"pulls": (1.0, 201.0)}, "have the pull 200, and there is no more"),
        ({"participants": (1, 11)}, "there are 10 agents"),
        ({"average_after": 2000}, "leaves no step"),
        ({"num_seeds": 0}, "a number of steps, runs or agents"),
    ],
    ids=str,
)
def test_mistakes_are_found_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        PhaseDiagram(**changes)


def test_unknown_methods_get_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'local_sgd'"):
        PhaseDiagram(methods=("local_sg",))


def test_all_methods_ask_for_equally_many_gradients() -> None:
    for (name, _), planned in phase_diagram.sweeps(TINY).items():
        rounds = planned.experiment.num_rounds
        assert rounds * planned.experiment.algorithm.num_local_steps == TINY.num_rounds, name


# ---- pulls -------------------------------------------------------------------------------------------------------


def distances(name: str, value: float, num_rounds: int) -> np.ndarray:
    """From consensus, round by round: agents that differ, and whose loss is flat, exchange as the method does."""
    method, config = METHODS[name], dataclasses.replace(TINY, weight_decay=0.0)
    algorithm = method.algorithm(config)
    if method.swept is not None:
        algorithm = dataclasses.replace(algorithm, **{method.swept: value})
    if name == "choco_sgd":  # its pull is that of copies which are complete
        algorithm = dataclasses.replace(algorithm, compressor=cs.messages.Identity())
    flat = cs.models.from_functions(
        lambda key: {"w": jax.random.normal(key, (5,))},
        lambda params, inputs: 0 * params["w"].sum() + jnp.zeros((len(inputs), 10), params["w"].dtype),
    )
    task = cs.tasks.load("digits", num_train=100, num_test=10)
    return cs.simulate(
        algorithm, model=flat, task=task, shards=cs.tasks.by_class(task, num_agents=10), graph=cs.graphs.complete(10),
        num_rounds=num_rounds, observe=("consensus_distance",), observe_every=1, dtype="float64", batch_size=1,
        **method.options(config, value),
    ).consensus_distance.values  # fmt: skip


def contraction(name: str, value: float, num_rounds: int = 3) -> float:
    """λ₂ per round, measured."""
    seen = distances(name, value, num_rounds)
    factors = seen[1:] / seen[:-1]
    assert np.ptp(factors) < 1e-9  # one and the same in every round; rounding of distances after a few rounds
    return float(factors[0])


@pytest.mark.parametrize(
    "name", [name for name in COUPLED if name not in ("random_links", "local_sgd", "exact_diffusion")]
)
def test_the_pull_is_what_differences_die_out_by(name: str) -> None:
    value = METHODS[name].values(TINY)[1]
    pull = METHODS[name].pull
    assert pull is not None
    measured = (1 - abs(contraction(name, value))) / TINY.learning_rate
    assert measured == pytest.approx(pull(TINY, value), rel=1e-9)  # double precision over three rounds


def test_the_pull_of_exact_diffusion_is_that_of_an_oscillation() -> None:
    """x(t + 1) = λ (2 x(t) − x(t − 1)) with λ = 1 − μ: two conjugate roots of modulus √λ."""
    value = METHODS["exact_diffusion"].values(TINY)[1]
    pull = METHODS["exact_diffusion"].pull
    assert pull is not None
    seen = distances("exact_diffusion", value, 12)
    expected = [1.0, 1 - value]
    while len(expected) < len(seen):
        expected.append((1 - value) * (2 * expected[-1] - expected[-2]))
    np.testing.assert_allclose(seen / seen[0], np.abs(expected), rtol=1e-9, atol=1e-12)
    modulus = abs(np.roots([1, -2 * (1 - value), 1 - value]))
    assert modulus == pytest.approx(1 - TINY.learning_rate * pull(TINY, value), rel=1e-12)


def test_the_pull_of_random_links_is_that_of_the_mean_matrix() -> None:
    """Null: E[W] = I − p(I − 11ᵀ/N). 2000 draws of 45 links; tolerance 4 standard errors of the mean weight."""
    p, n, draws = 0.3, 10, 2000
    links = METHODS["random_links"].options(TINY, p)["schedules"].edges
    worked = np.asarray(jax.vmap(links)(jnp.arange(draws)))[:, *np.triu_indices(n, 1)].mean()
    assert abs(worked - p) < 4 * np.sqrt(p * (1 - p) / (draws * n * (n - 1) / 2))
    mean = (1 - p) * np.eye(n) + p / n
    second = np.sort(np.linalg.eigvalsh(mean))[-2]
    assert METHODS["random_links"].pull(TINY, p) == pytest.approx((1 - second) / TINY.learning_rate)  # type: ignore


def test_local_sgd_exchanges_once_per_period() -> None:
    frequencies = METHODS["local_sgd"].values(TINY)
    assert frequencies == (1 / 200, 1 / 20, 1 / 7, 1 / 2, 1.0)
    links = METHODS["local_sgd"].options(TINY, 1 / 7)["schedules"].edges
    worked = [bool(links(jnp.asarray(k)).all()) for k in range(14)]
    assert worked == ([False] * 6 + [True]) * 2
    assert METHODS["local_sgd"].pull(TINY, 1 / 7) == pytest.approx(1 / (7 * TINY.learning_rate))  # type: ignore


def test_elasticities_stay_below_the_stability_limit() -> None:
    assert max(METHODS["elastic_averaging"].values(TINY)) < 2 / 11


# ---- invented results --------------------------------------------------------------------------------------------


def invent(work: Sweep, critical: float = 20.0) -> xr.Dataset:
    """⟨A⟩ = 0.2 + 0.1 log₁₀(pull / 20), 20 % steeper or less steep: it crosses 0.2 at a pull of 20, for any method."""
    name = work.title.split()[2]
    method, seeds = METHODS[name], np.asarray(work.over["seed"])
    values = METHODS[name].values(TINY) if method.swept else (float(work.title.split(" at ")[1]),)
    pulls = [method.pull(TINY, value) if method.pull else 200.0 * value for value in values]
    rise = np.log10(np.asarray(pulls)[:, None] / critical) * (1 + 0.4 * (seeds - 0.5))
    accuracy = 0.2 + 0.1 * rise[..., None] + np.zeros(10)
    dims, coords = ("control", "seed", "agent"), {"seed": seeds}
    dataset = xr.Dataset({"accuracy": (dims, accuracy)}, coords)
    if method.swept is None:
        dataset = dataset.isel(control=0)
    else:
        dataset = dataset.rename(control=method.swept).assign_coords({method.swept: list(values)})
    return dataset.assign_attrs(wall_seconds={"advance": 1.0})


@pytest.fixture(scope="module")
def invented() -> Result:
    return phase_diagram.run(TINY, invent)


def test_critical_values_are_compared_on_the_common_axis(invented: Result) -> None:
    for row in phase_diagram.rows(invented):
        if row["method"] not in COUPLED:
            assert np.isnan(row["pull"])
            continue
        # Between values ⟨A⟩ is taken to be straight in their logarithm, as it is here, up to the rounding of periods,
        # and where the pull is not proportional to the value.
        is_exact = row["method"] not in ("local_sgd", "exact_diffusion")
        assert row["pull"] == pytest.approx(20, rel=1e-9 if is_exact else 0.05), row["method"]
        assert not row["is_below_the_grid"]
        assert row["relative"] == pytest.approx(row["pull"] / 20, rel=1e-2)  # all seeds cross where their mean does
    same = [invented.pull(name, invented.critical[name].value) for name in ("diffusive_coupling", "dgd")]
    assert same[0] == pytest.approx(same[1], rel=1e-9)
    assert phase_diagram.rows(invented)[1]["critical"] == pytest.approx(same[0] * TINY.learning_rate)


def test_what_lies_beyond_the_grid_is_said() -> None:
    few = dataclasses.replace(TINY, methods=("diffusive_coupling", "dgd"))
    weak = phase_diagram.run(few, functools.partial(invent, critical=1e6))
    strong = phase_diagram.run(few, functools.partial(invent, critical=1e-3))
    for result, sign in ((weak, "> 200"), (strong, "≤ 1")):
        (table,) = phase_diagram.tables(result)
        assert table.rows[0][3] == table.rows[0][4] == sign
        assert phase_diagram.draw(result).axes
    assert strong.is_below_the_grid("dgd")
    assert np.isnan(weak.pull("dgd", weak.critical["dgd"].value))


def test_runs_that_diverged_are_left_out_and_counted() -> None:
    def lossy(work: Sweep) -> xr.Dataset:
        found = invent(work)
        return found.assign(accuracy=found.accuracy.where(found.seed == 0)) if "dgd" in work.title else found

    result = phase_diagram.run(dataclasses.replace(TINY, methods=("dgd", "diffusive_coupling")), lossy)
    assert [row["num_diverged"] for row in phase_diagram.rows(result)] == [5, 0]
    assert np.isfinite(result.critical["dgd"].value)


def test_the_figure_and_the_text(invented: Result, tmp_path: pathlib.Path) -> None:
    figure = phase_diagram.draw(invented)
    assert len(figure.axes) == len(METHODS) + 1
    letters = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert letters == list("abcdefghijklmn")
    for axes in figure.axes[:-1]:
        assert axes.get_ylim() == (0, 1)
        assert axes.get_xlabel()
        assert axes.get_title()
    assert [tick.get_text() for tick in figure.axes[-1].get_yticklabels()] == [METHODS[name].label for name in COUPLED]
    for path in cs.plots.save(figure, tmp_path, "figure"):
        assert path.stat().st_size > 20_000
    (table,) = phase_diagram.tables(invented)
    assert {len(row) for row in table.rows} == {len(table.columns)}
    assert len(table.rows) == len(METHODS)
    text = "\n".join(phase_diagram.remarks(invented))
    assert "n = 2 seeds" in text
    data = phase_diagram.as_data(invented)
    assert data["curves"]["dgd"]["pull"] == pytest.approx(TINY.pulls)


# ---- once, from end to end ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_methods_that_are_one_and_the_same_have_one_curve(tmp_path: pathlib.Path) -> None:
    """DGD at μ = ησ, and triads of any three agents at τ = σN/(N − 2), are Eq. (2)."""
    config = dataclasses.replace(
        TINY, methods=("diffusive_coupling", "dgd", "triadic_coupling"), learning_rate=0.1, pulls=(0.5, 3.0, 10.0),
        num_rounds=300, average_after=150, observe_every=37,
    )  # fmt: skip
    execute = functools.partial(run_sweep, store=tmp_path / "store")
    result = phase_diagram.run(config, execute)
    reference = result.accuracy["diffusive_coupling"].values
    assert np.ptp(reference) > 0.1
    # In single precision, summed in another order, a test image on the edge may fall to either side: of ten agents'
    # sixty, at five records, a few do.
    np.testing.assert_allclose(result.accuracy["dgd"].values, reference, atol=2e-3)
    np.testing.assert_allclose(result.accuracy["triadic_coupling"].values, reference[::2], atol=2e-3)
    again = phase_diagram.run(config, execute)
    assert phase_diagram.tables(again) == phase_diagram.tables(result)
