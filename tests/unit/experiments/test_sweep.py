"""Sweeps: equal to single runs cell by cell, chained where they follow each other, and stored block by block."""

import importlib
import itertools
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import pytest
import tiny
import xarray as xr

import consilience as cs
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.errors import IncompatiblePair, InvalidSpec, StabilityWarning, StoreError, UnknownName
from consilience.experiments import Local, NotStoredWarning, SweepProgress, load_stored, resolve_sweep, run_sweep
from consilience.store import CorruptedCellWarning, Run, Store

pytestmark = pytest.mark.usefixtures("compiled_programs")

sweep_module = importlib.import_module("consilience.experiments.sweep")  # `experiments.sweep` is the function

# Sums over 12 numbers of order one, ten rounds long, in two orders: some hundred roundings of double precision.
ROUNDING = 1e-12
DIVERGING = 1e80
"""A coupling with which parameters overflow within ten rounds, also in double precision."""


def method(**changes: Any) -> Any:
    defaults = {"learning_rate": 0.05, "coupling": 1.0, "weight_decay": 1e-3}
    return cs.algorithms.DiffusiveCoupling(**{**defaults, **changes})


def run(over: Any, algorithm: Any = tiny.ALGORITHM, **arguments: Any) -> xr.Dataset:
    own = ("protocol", "along", "seed", "store", "force", "executor", "on_progress", "title")
    kept = {name: arguments.pop(name) for name in own if name in arguments}
    return cs.sweep(algorithm, over=over, **kept, **tiny.parts(**arguments))


def variables(dataset: xr.Dataset) -> list[str]:
    return [str(name) for name in dataset.data_vars]


def assert_equal(cell: xr.Dataset, single: xr.Dataset) -> None:
    """A cell of a sweep and a run of its own: to rounding, since XLA sums in an order that depends on shapes."""
    assert set(variables(cell)) == set(variables(single))
    for name in variables(single):
        assert cell[name].dims == single[name].dims
        if single[name].dtype.kind == "f":
            np.testing.assert_allclose(cell[name].values, single[name].values, rtol=ROUNDING, atol=ROUNDING)
        else:
            assert cell[name].values.tolist() == single[name].values.tolist()


def assert_identical(one: xr.Dataset, other: xr.Dataset) -> None:
    """To the bit."""
    xr.testing.assert_identical(one.drop_attrs(deep=False), other.drop_attrs(deep=False))


OVER = {"coupling": tiny.COUPLINGS, "seed": [1, 0]}


@pytest.fixture(scope="module")
def result(compiled_programs: object) -> xr.Dataset:  # noqa: F811
    """Two blocks, one per seed."""
    return run(OVER)


# ---- against single runs -----------------------------------------------------------------------------------------


def test_every_cell_equals_a_run_of_its_own(result: xr.Dataset) -> None:
    for coupling, seed in itertools.product(*OVER.values()):
        single = cs.simulate(method(coupling=coupling), seed=seed, **tiny.parts())
        assert_equal(result.sel(coupling=coupling, seed=seed, drop=True), single)
    accuracies = {float(result.loss.sel(coupling=c, seed=s)[-1].mean()) for c, s in itertools.product(*OVER.values())}
    assert len(accuracies) == 8  # the comparison could have failed


def test_the_users_order_of_names_and_values_is_kept(result: xr.Dataset) -> None:
    assert result.accuracy.dims == ("coupling", "seed", "round", "agent")
    assert result.coupling.values.tolist() == tiny.COUPLINGS
    assert result.seed.values.tolist() == [1, 0]
    assert result.outcome.dims == ("coupling", "seed")
    assert result["params/layer_0/weight"].dims[:3] == ("coupling", "seed", "agent")
    turned = run({"seed": [1, 0], "coupling": tiny.COUPLINGS[:2]})
    assert turned.accuracy.dims == ("seed", "coupling", "round", "agent")
    for coupling, seed in itertools.product(tiny.COUPLINGS[:2], [1, 0]):
        cell = {"coupling": coupling, "seed": seed}
        np.testing.assert_allclose(turned.loss.sel(cell), result.loss.sel(cell), rtol=ROUNDING)


def test_seeds_side_by_side_draw_their_own_parameters_and_batches() -> None:
    both = run({"seed": [4, 2]}, initial_params=None)
    singles = [cs.simulate(tiny.ALGORITHM, seed=seed, **tiny.parts(initial_params=None)) for seed in (4, 2)]
    for position, single in enumerate(singles):
        assert_equal(both.isel(seed=position, drop=True), single)
    assert (both.loss.isel(seed=0) != both.loss.isel(seed=1)).any("agent").all()


def test_attributes_say_what_was_run(result: xr.Dataset) -> None:
    attributes = result.attrs
    assert attributes["title"] == "DiffusiveCoupling on points"
    assert attributes["protocol"] == "quench"
    assert attributes["num_agents"] == tiny.NUM_AGENTS
    assert attributes["num_parameters"] == tiny.NUM_FEATURES * 3 + 3
    assert attributes["spec"]["over"] == {"coupling": tiny.COUPLINGS, "seed": [1, 0]}
    assert set(attributes["versions"]) == {"consilience", "jax", "jaxlib", "equinox", "numpy"}
    assert set(attributes["wall_seconds"]) == {"advance", "observe", "compile"}
    assert 0 <= attributes["evaluation_share"] <= 1
    assert len(attributes["run_id"]) == 64


# ---- common random numbers ---------------------------------------------------------------------------------------


def test_replicas_that_differ_in_numbers_see_the_same_batches() -> None:
    # Without coupling and decay, one step from common parameters moves θ by −η g(batch): equal batches, equal g.
    rates = [0.1, 0.2, 0.4, 0.05]
    one = run({"learning_rate": rates}, method(coupling=0.0, weight_decay=0.0), num_rounds=1, observe_every=1, seed=3)
    start = tiny.initial_params()["layer_0"]["weight"]
    gradients = (start - one["params/layer_0/weight"].values) / np.array(rates)[:, None, None, None]
    np.testing.assert_allclose(gradients, np.broadcast_to(gradients[0], gradients.shape), atol=ROUNDING)
    other = run({"learning_rate": rates}, method(coupling=0.0, weight_decay=0.0), num_rounds=1, observe_every=1, seed=4)
    assert abs(other["params/layer_0/weight"] - one["params/layer_0/weight"]).max() > 1e-3  # other batches


# ---- protocols ---------------------------------------------------------------------------------------------------


def chained(couplings: list[float], seed: int) -> list[xr.Dataset]:
    """`simulate` after `simulate`, each from the final parameters of the one before."""
    params: Any = tiny.initial_params()
    singles = []
    for coupling in couplings:
        single = cs.simulate(method(coupling=coupling), seed=seed, **tiny.parts(initial_params=params))
        params = jax.tree.map(lambda *leaves: np.stack(leaves), *[single.params(i) for i in range(tiny.NUM_AGENTS)])
        singles.append(single)
    return singles


@pytest.mark.parametrize("protocol", ["adiabatic_up", "adiabatic_down"])
def test_an_adiabatic_sweep_is_a_chain_of_runs(protocol: str) -> None:
    swept = run({"coupling": [3.0, 0.0, 10.0]}, protocol=protocol, seed=2)
    assert swept.coupling.values.tolist() == [3.0, 0.0, 10.0]
    couplings = sorted([3.0, 0.0, 10.0], reverse=protocol == "adiabatic_down")
    for coupling, single in zip(couplings, chained(couplings, seed=2), strict=True):
        assert_equal(swept.sel(coupling=coupling, drop=True), single)
    fresh = cs.simulate(method(coupling=couplings[1]), seed=2, **tiny.parts())
    assert abs(fresh.loss[-1] - swept.loss.sel(coupling=couplings[1])[-1]).max() > 1e-3  # a quench ends elsewhere


def test_chains_of_several_seeds_run_side_by_side() -> None:
    swept = run({"coupling": [1.0, 0.0], "seed": [4, 2]}, protocol="adiabatic_up")
    for seed in (4, 2):
        for coupling, single in zip([0.0, 1.0], chained([0.0, 1.0], seed=seed), strict=True):
            assert_equal(swept.sel(coupling=coupling, seed=seed, drop=True), single)


def test_what_follows_a_diverged_replica_is_diverged_and_measures_nothing() -> None:
    over = {"coupling": [0.0, DIVERGING, 2 * DIVERGING], "learning_rate": [0.05, 1e-85]}
    with pytest.warns(StabilityWarning, match=r"coupling=1e\+80 is beyond the stability limit 40"):
        swept = run(over, protocol="adiabatic_up")
    # A replica beside it, whose learning rate is small enough, goes on.
    assert swept.outcome.values.tolist() == [["completed"] * 2, ["diverged", "completed"], ["diverged", "completed"]]
    assert np.isfinite(swept.loss.sel(learning_rate=1e-85)).all()
    fast = swept.sel(learning_rate=0.05)
    assert fast.final_round[0] == 10
    assert 1 < fast.final_round[1] < 10
    assert fast.final_round[2] == 0
    assert np.isfinite(fast.loss.sel(coupling=0.0)).all()
    assert np.isnan(fast.loss.sel(coupling=DIVERGING)[1:]).all()
    assert np.isnan(fast.loss.sel(coupling=2 * DIVERGING)).all()
    assert swept["round"].values.tolist() == [0, 5, 10]


def test_a_sweep_of_which_all_diverges_has_all_variables() -> None:
    for arguments in ({"average_after": 4}, {"protocol": "adiabatic_down"}):
        with pytest.warns(StabilityWarning):
            swept = run({"coupling": [DIVERGING]}, **arguments)
        assert swept.outcome.values.tolist() == ["diverged"]
        assert np.isnan(swept.accuracy.isel(round=-1) if "round" in swept.dims else swept.accuracy).all()


def test_a_diverged_replica_does_not_disturb_its_neighbours(result: xr.Dataset, tmp_path: pathlib.Path) -> None:
    couplings = [10.0, 0.0, DIVERGING, 1.0]
    with pytest.warns(StabilityWarning):
        swept = run({"coupling": couplings, "seed": [1, 0]}, store=tmp_path)
    assert (swept.outcome == "diverged").sum("seed").values.tolist() == [0, 0, 2, 0]
    kept = [coupling for coupling in couplings if coupling != DIVERGING]
    # Same shapes, so the same bits.
    np.testing.assert_array_equal(swept.loss.sel(coupling=kept), result.loss.sel(coupling=kept))
    stored = load_stored(Store(tmp_path), "latest")
    assert_identical(stored, swept)


# ---- structural parameters ---------------------------------------------------------------------------------------


def test_structural_parameters_make_blocks_of_their_own() -> None:
    algorithm = cs.algorithms.AdaptThenCombine(learning_rate=0.05, local_steps=1)
    swept = run({"local_steps": [2, 1]}, algorithm)
    assert swept.local_steps.values.tolist() == [2, 1]
    for steps in (2, 1):
        single = cs.simulate(cs.algorithms.AdaptThenCombine(learning_rate=0.05, local_steps=steps), **tiny.parts())
        assert_equal(swept.sel(local_steps=steps, drop=True), single)
    chain = run({"local_steps": [2, 1]}, algorithm, protocol="adiabatic_up", along="local_steps")
    assert_equal(chain.sel(local_steps=1), swept.sel(local_steps=1))
    assert (chain.loss.sel(local_steps=2)[-1] != swept.loss.sel(local_steps=2)[-1]).all()


# ---- produce or load ---------------------------------------------------------------------------------------------


@pytest.fixture
def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this should have been loaded")

    monkeypatch.setattr(sweep_module, "run_ensemble", refuse)


@pytest.fixture(scope="module")
def original(result: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, pathlib.Path]:
    """`result`, stored."""
    path = tmp_path_factory.mktemp("store")
    kept = run(OVER, store=path)
    assert_identical(kept, result)
    return kept, path


@pytest.fixture
def stored(original: tuple[xr.Dataset, pathlib.Path], tmp_path: pathlib.Path) -> xr.Dataset:
    """The stored result, with a copy of its store at `tmp_path`."""
    kept, path = original
    shutil.copytree(path, tmp_path, dirs_exist_ok=True)
    return kept


def test_the_second_time_nothing_is_computed(
    stored: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, no_computing: None
) -> None:
    monkeypatch.setattr(sweep_module, "make_ensemble", sweep_module.run_ensemble)
    events: list[SweepProgress] = []
    again = run(OVER, store=Store(tmp_path), on_progress=events.append)
    assert_identical(again, stored)
    assert again.attrs["spec"] == stored.attrs["spec"]
    assert again.attrs["wall_seconds"] == stored.attrs["wall_seconds"]
    assert [event.replica_rounds_loaded for event in events] == [40, 80]
    loaded = load_stored(Store(tmp_path), stored.attrs["run_id"][:6])
    assert_identical(loaded, stored)
    assert {name: loaded.attrs[name] for name in ("title", "protocol", "run_id", "spec", "versions")} == {
        name: stored.attrs[name] for name in ("title", "protocol", "run_id", "spec", "versions")
    }


def test_another_title_is_the_same_run(stored: xr.Dataset, tmp_path: pathlib.Path, no_computing: None) -> None:
    again = run(OVER, store=tmp_path, title="under another name", task=tiny.task(name="renamed"))
    assert_identical(again, stored)
    (summary,) = Store(tmp_path).runs()
    assert summary.title == "under another name"


def test_a_longer_sweep_shares_nothing_and_harms_nothing(stored: xr.Dataset, tmp_path: pathlib.Path) -> None:
    more = run({**OVER, "seed": [1, 0, 5]}, store=tmp_path)
    np.testing.assert_array_equal(more.loss.sel(seed=[1, 0]), stored.loss)
    assert sorted(summary.cells_done for summary in Store(tmp_path).runs()) == [2, 3]


def test_force_makes_another_attempt(stored: xr.Dataset, tmp_path: pathlib.Path) -> None:
    (run_path,) = (tmp_path / "runs").iterdir()
    before = {path: path.stat().st_mtime_ns for path in (run_path / "attempt-0001").rglob("*")}
    again = run(OVER, store=tmp_path, force=True)
    assert_identical(again, stored)
    assert sorted(path.name for path in run_path.iterdir()) == ["attempt-0001", "attempt-0002", "spec.json"]
    assert {path: path.stat().st_mtime_ns for path in (run_path / "attempt-0001").rglob("*")} == before
    assert Store(tmp_path).runs()[0].cells_done == 2


def test_a_corrupted_cell_is_computed_again(stored: xr.Dataset, tmp_path: pathlib.Path) -> None:
    kept = Store(tmp_path).find("latest")
    loss = kept.path / "cells" / "block-0001" / "loss" / "c" / "0" / "0" / "0"
    content = bytearray(loss.read_bytes())
    content[len(content) // 2] ^= 1
    loss.write_bytes(content)
    events: list[SweepProgress] = []
    with pytest.warns(CorruptedCellWarning, match="does not have the checksum"):
        again = run(OVER, store=tmp_path, on_progress=events.append)
    assert_identical(again, stored)
    assert events[-1].replica_rounds_loaded == 40
    assert len(list((kept.path / "corrupted").iterdir())) == 1
    assert run(OVER, store=tmp_path).equals(stored)


def test_what_a_full_disk_refuses_is_returned_all_the_same(
    result: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Run.save

    def save(self: Run, cell_id: str, dataset: xr.Dataset) -> bool:
        if cell_id == "block-0001":
            raise StoreError("Cell 'block-0001' was not saved: no space left on device.")
        return saved(self, cell_id, dataset)

    monkeypatch.setattr(Run, "save", save)
    with pytest.warns(NotStoredWarning, match=r"no space left.*results of block-0001 are in the returned data set"):
        full = run(OVER, store=tmp_path)
    assert_identical(full, result)
    monkeypatch.undo()
    partial = load_stored(Store(tmp_path), "latest")
    assert partial.sizes["replica"] == 4
    assert sorted(partial.replica.to_index().tolist()) == sorted((coupling, 1) for coupling in tiny.COUPLINGS)
    events: list[SweepProgress] = []
    assert_identical(run(OVER, store=tmp_path, on_progress=events.append), result)
    assert events[-1].replica_rounds_loaded == 40


def test_a_checkpoint_that_cannot_be_saved_stops_nothing(
    result: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise StoreError("The checkpoint was not saved: no space left on device.")

    monkeypatch.setattr(sweep_module, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(Run, "save_checkpoint", refuse)
    with pytest.warns(NotStoredWarning, match="no space left on device. The run goes on without it"):
        assert_identical(run(OVER, store=tmp_path), result)


def test_a_store_that_cannot_be_written_still_gives_what_it_holds(
    stored: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, no_computing: None
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("consilience.store.files.replace_file", refuse)
    with pytest.warns(NotStoredWarning, match="record of run .* was not saved: read-only file system"):
        assert_identical(run(OVER, store=tmp_path), stored)


def test_a_store_that_cannot_be_opened_is_an_error_before_anything_runs(
    tmp_path: pathlib.Path, no_computing: None
) -> None:
    path = tmp_path / "file"
    path.write_text("no store")
    with pytest.raises(StoreError, match="A store is a directory: name another path"):
        run(OVER, store=path)
    sweep, store = resolve_sweep(tiny.ALGORITHM, over=OVER, **tiny.parts()), Store(tmp_path / "store")
    assert sweep.run_id is not None
    assert sweep.spec is not None
    store.open_run(sweep.run_id, sweep.spec)
    with pytest.raises(StoreError, match="has no finished block yet"):
        load_stored(store, "latest")


def test_a_run_resumes_from_its_checkpoint(
    result: xr.Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    monkeypatch.setattr(sweep_module, "_CHECKPOINT_SECONDS", 0.0)

    def stop_after_saving(event: SweepProgress) -> None:
        if event.block == 1 and event.replica_rounds_done > 60:
            raise Stop

    sweep = resolve_sweep(tiny.ALGORITHM, over=OVER, **tiny.parts())
    with pytest.raises(Stop):
        run_sweep(sweep, store=tmp_path, executor=Local(1), on_progress=stop_after_saving)
    kept = Store(tmp_path).find("latest")
    assert kept.cells() == ["block-0000"]
    checkpoint = kept.load_checkpoint("block-0001")
    assert checkpoint is not None
    assert checkpoint[1]["round"] == 5
    events: list[SweepProgress] = []
    assert_identical(run_sweep(sweep, store=tmp_path, on_progress=events.append), result)
    assert [event.replica_rounds_done for event in events] == [40, 80, 80]  # loaded, rounds 6 to 10, finished
    assert kept.load_checkpoint("block-0001") is None


def test_progress_reaches_the_end() -> None:
    events: list[SweepProgress] = []
    run(OVER, executor=Local(1), on_progress=events.append, title="mine")
    done = [event.replica_rounds_done for event in events]
    assert done == sorted(done)
    assert done == [20, 40, 40, 60, 80, 80]
    assert {(event.title, event.num_blocks, event.replica_rounds_total) for event in events} == {("mine", 2, 80)}
    assert [event.block for event in events] == [0, 0, 0, 1, 1, 1]
    assert all(event.agent_steps_per_second > 0 for event in events if event.replica_rounds_done % 40)
    assert {event.replica_rounds_loaded for event in events} == {0}


# ---- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "sweeps over nothing"),
        ({"couplin": [0.0]}, "'couplin' is not a parameter of DiffusiveCoupling .* Did you mean 'coupling'"),
        ({"coupling": []}, "at least one value and each of them once"),
        ({"coupling": [1.0, 0.0, 1]}, "at least one value and each of them once"),
        ({"coupling": 3.0}, r"Write a list, coupling=\[3.0\]"),
        ({"coupling": "3.0"}, "Write a list"),
        ({"coupling": ["3.0"]}, "'3.0': values of coupling are numbers"),
        ({"coupling": [True, False]}, "True: values of coupling are numbers"),
        ({"coupling": [[1.0], [2.0]]}, "values of coupling are numbers"),
        ({"coupling": [0.0, -1.0]}, "negative coupling pushes the agents apart"),
        ({"coupling": [0.0, float("nan")]}, "must be a finite number"),
        ({"seed": [0, -1]}, "seed=-1: a seed is a whole number"),
        ({"seed": [0.5]}, "seed=0.5: a seed is a whole number"),
    ],
    ids=str,
)
def test_bad_values_are_refused_before_anything_runs(over: Any, message: str, no_computing: None) -> None:
    with pytest.raises(InvalidSpec, match=message) as error:
        run(over)
    assert "\n" not in str(error.value)


def test_bad_combinations_are_refused(no_computing: None) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'adiabatic_up'"):
        run(OVER, protocol="adiabatic-up")
    with pytest.raises(InvalidSpec, match="seed=-1"):
        run(OVER, seed=-1)
    with pytest.raises(IncompatiblePair, match="those of servers are not kept"):
        run({"coupling": [0.0]}, protocol="adiabatic_up", roles={0: "server"})
