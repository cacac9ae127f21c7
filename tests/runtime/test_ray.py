"""Sweeps on a private Ray cluster: equal to the bit, whichever worker dies when."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import worker_sweeps
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.errors import InvalidSpec
from consilience.experiments import LostWorkerWarning, Ray, SweepProgress, WorkerLost, load_stored, run_sweep
from consilience.store import Store

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'consilience[ray]'")

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("compiled_programs")]

TWO = Ray(num_workers=2)


def assert_identical(one: xr.Dataset, other: xr.Dataset) -> None:
    """To the bit."""
    xr.testing.assert_identical(one.drop_attrs(deep=False), other.drop_attrs(deep=False))


@pytest.fixture(scope="module")
def expected(compiled_programs: object, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:  # noqa: F811
    return worker_sweeps.on_one_thread("quench", tmp_path_factory.mktemp("one_thread"))


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[worker_sweeps.Orders]:
    with worker_sweeps.obedient(tmp_path / "orders") as given:
        yield given


def test_a_worker_that_is_killed_changes_nothing(
    expected: xr.Dataset, orders: worker_sweeps.Orders, tmp_path: Path
) -> None:
    orders.die(1, times=2)
    events: list[SweepProgress] = []
    with pytest.warns(LostWorkerWarning, match="computed block-0001, as Ray says: WorkerCrashedError"):
        result = run_sweep(worker_sweeps.planned(), executor=TWO, store=tmp_path / "store", on_progress=events.append)
    assert_identical(result, expected)
    assert_identical(load_stored(Store(tmp_path / "store"), "latest"), expected)
    assert events[-1].replica_rounds_done == events[-1].replica_rounds_total
    assert not ray.is_initialized()  # the cluster ended with the sweep


def test_a_block_whose_workers_die_three_times_is_given_up(orders: worker_sweeps.Orders) -> None:
    orders.die(0, times=3)
    with pytest.warns(LostWorkerWarning), pytest.raises(WorkerLost, match="block-0000 was given up"):
        run_sweep(worker_sweeps.planned(), executor=TWO)
    assert not ray.is_initialized()


def test_a_chain_without_a_store_goes_on_after_a_death(orders: worker_sweeps.Orders, tmp_path: Path) -> None:
    expected = worker_sweeps.on_one_thread("adiabatic_up", tmp_path)
    orders.die(3)
    with pytest.warns(LostWorkerWarning, match="block-0003"):
        assert_identical(run_sweep(worker_sweeps.planned("adiabatic_up"), executor=TWO), expected)


def has_stopped(store: Path) -> bool:
    """Whether the two blocks that are held have kept a checkpoint of their second chunk, the moment they stopped."""
    run = Store(store).find("latest")
    kept = [run.load_checkpoint(name) for name in ("block-0001", "block-0002")]
    return all(each is not None and each[1]["round"] == 2 * worker_sweeps.CHUNK for each in kept)


def test_an_interruption_keeps_what_was_done(
    expected: xr.Dataset, orders: worker_sweeps.Orders, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    orders.hold(1)
    orders.hold(2)

    def interrupt(event: SweepProgress) -> None:
        if orders.arrived() == {1, 2}:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(worker_sweeps.planned(), executor=TWO, store=store, on_progress=interrupt)
    assert Store(store).find("latest").cells() == ["block-0000"]
    assert has_stopped(store)
    orders.release(1)
    orders.release(2)
    assert_identical(run_sweep(worker_sweeps.planned(), executor=TWO, store=store), expected)


def test_a_sweep_that_is_killed_loses_nothing(expected: xr.Dataset, tmp_path: Path) -> None:
    orders, store = worker_sweeps.Orders(tmp_path / "orders"), tmp_path / "store"
    orders.hold(1)
    orders.hold(2)
    with worker_sweeps.program(orders, "quench", store, "ray") as running:
        deadline = time.monotonic() + 300
        while orders.arrived() != {1, 2}:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGKILL)
        running.wait(300)
    run = Store(store).find("latest")
    assert run.cells() == ["block-0000"]
    first: dict[int, int] = {}

    def note(event: SweepProgress) -> None:
        first.setdefault(event.block, event.replica_rounds_done)

    # Workers of the dead sweep hold their claims until Ray has ended them; the next one waits for that.
    again = run_sweep(worker_sweeps.planned(), executor="ray", store=store, on_progress=note)
    assert_identical(again, expected)
    replicas = len(worker_sweeps.OVER["quench"]["coupling"])
    assert first[0] == worker_sweeps.NUM_ROUNDS * replicas  # from the store


def test_the_users_own_session_of_ray_is_used_and_left(orders: worker_sweeps.Orders, expected: xr.Dataset) -> None:
    from consilience.experiments.executors.ray import _begin

    paths = os.pathsep.join([str(Path(worker_sweeps.__file__).parent), os.environ.get("PYTHONPATH", "")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", paths)
        _begin(None, 2)
    try:
        assert_identical(run_sweep(worker_sweeps.planned(), executor="ray"), expected)
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_an_address_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InvalidSpec, match=r"address='auto'.*running Ray instance\)\. Start one.*`ray start --head`"):
        run_sweep(worker_sweeps.planned(), executor=Ray("auto"))
