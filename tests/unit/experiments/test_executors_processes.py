"""Sweeps in processes: equal to the bit, whichever process dies when."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import xarray as xr

import worker_sweeps
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.algorithms import DiffusiveCoupling
from consilience.experiments import (
    Local,
    LostWorkerWarning,
    Processes,
    Sweep,
    SweepProgress,
    WorkerLost,
    load_stored,
    run_sweep,
)
from consilience.experiments.executors import processes
from consilience.store import Store

pytestmark = pytest.mark.usefixtures("compiled_programs")


def assert_identical(one: xr.Dataset, other: xr.Dataset) -> None:
    """To the bit."""
    xr.testing.assert_identical(one.drop_attrs(deep=False), other.drop_attrs(deep=False))


@pytest.fixture(scope="module")
def expected(compiled_programs: object, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:  # noqa: F811
    return worker_sweeps.on_one_thread("quench", tmp_path_factory.mktemp("one_thread"))


@pytest.fixture
def orders(tmp_path: pathlib.Path) -> Iterator[worker_sweeps.Orders]:
    with worker_sweeps.obedient(tmp_path / "orders") as given:
        yield given


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The workers that are started."""
    workers: list[Any] = []
    start = processes.Workers._start

    def noted(self: processes.Workers) -> Any:
        workers.append(start(self))
        return workers[-1]

    monkeypatch.setattr(processes.Workers, "_start", noted)
    return workers


class First:
    """A callback that notes the first event of each block."""

    def __init__(self) -> None:
        self.done: dict[int, int] = {}

    def __call__(self, event: SweepProgress) -> None:
        self.done.setdefault(event.block, event.replica_rounds_done)


def all_ended(workers: list[Any]) -> bool:
    return bool(workers) and all(worker.process.poll() is not None for worker in workers)


# ---- workers that die --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(
    expected: xr.Dataset, orders: worker_sweeps.Orders, started: list[Any], tmp_path: pathlib.Path
) -> None:
    orders.die(1)
    with pytest.warns(LostWorkerWarning, match=r"computed block-0001, by signal SIGKILL \(out of memory, perhaps\)"):
        result = run_sweep(worker_sweeps.planned(), executor=Processes(2), store=tmp_path / "store")
    assert_identical(result, expected)
    assert_identical(load_stored(Store(tmp_path / "store"), "latest"), expected)
    assert len(started) == 3
    assert all_ended(started)
    assert Store(tmp_path / "store").find("latest").load_checkpoint("block-0001") is None


@pytest.mark.slow
def test_without_a_store_its_block_starts_again(expected: xr.Dataset, orders: worker_sweeps.Orders) -> None:
    orders.die(0, times=2)
    with pytest.warns(LostWorkerWarning):
        result = run_sweep(worker_sweeps.planned(), executor=Processes(2))
    assert_identical(result, expected)


@pytest.mark.slow
def test_a_block_whose_workers_die_three_times_is_given_up(
    orders: worker_sweeps.Orders, started: list[Any], tmp_path: pathlib.Path
) -> None:
    orders.die(0, times=3)
    with pytest.warns(LostWorkerWarning), pytest.raises(WorkerLost, match="block-0000 was given up"):
        run_sweep(worker_sweeps.planned(), executor=Processes(2), store=tmp_path / "store")
    assert all_ended(started)


@pytest.mark.slow
@pytest.mark.parametrize("is_stored", [True, False])
def test_a_chain_goes_on_after_a_death(is_stored: bool, orders: worker_sweeps.Orders, tmp_path: pathlib.Path) -> None:
    expected = worker_sweeps.on_one_thread("adiabatic_up", tmp_path)
    planned = worker_sweeps.planned("adiabatic_up")
    orders.die(3)
    store = tmp_path / "store" if is_stored else None
    with pytest.warns(LostWorkerWarning, match="block-0003"):
        assert_identical(run_sweep(planned, executor=Processes(2), store=store), expected)


def test_workers_that_cannot_start_end_the_sweep(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_START", "raise SystemExit({})")
    with pytest.raises(WorkerLost, match="3 workers died before they had anything to do, the last with exit code"):
        run_sweep(worker_sweeps.planned(), executor=Processes(1))
    assert all_ended(started)


# ---- a sweep that dies -------------------------------------------------------------------------------------------


def children(process: int) -> list[int]:
    return [int(child) for child in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def is_alive(process: int) -> bool:
    """Dead ones may stay in the list for a while, as zombies that nobody has waited for."""
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until(happened: Callable[[], bool], seconds: float = 300.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="lists processes as Linux does")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_sweep_that_is_killed_leaves_no_worker_and_loses_nothing(
    number: signal.Signals, expected: xr.Dataset, tmp_path: pathlib.Path
) -> None:
    orders = worker_sweeps.Orders(tmp_path / "orders")
    orders.hold(1)
    orders.hold(2)
    with worker_sweeps.program(orders, "quench", tmp_path / "store", "processes") as running:
        try:
            wait_until(lambda: orders.arrived() == {1, 2})
            workers = children(running.pid)
        finally:
            running.send_signal(number)
        running.communicate(timeout=300)
    assert len(workers) == 2
    wait_until(lambda: not any(map(is_alive, workers)))
    run = Store(tmp_path / "store").find("latest")
    assert run.cells() == ["block-0000"]
    for name in ("block-0001", "block-0002"):
        stopped = run.load_checkpoint(name)
        assert stopped is not None
        assert stopped[1]["round"] == 2 * worker_sweeps.CHUNK
    first = First()
    again = run_sweep(worker_sweeps.planned(), executor=Processes(1), store=tmp_path / "store", on_progress=first)
    assert_identical(again, expected)
    replicas = len(worker_sweeps.OVER["quench"]["coupling"])
    assert first.done[1] == (worker_sweeps.NUM_ROUNDS + 3 * worker_sweeps.CHUNK) * replicas  # not from the start


# ---- what is sent ------------------------------------------------------------------------------------------------

SCRIPT = """
import json, sys
import jax, worker_sweeps
import consilience as cs
from consilience.algorithms import DiffusiveCoupling

class Damped(DiffusiveCoupling):
    factor: float = 0.5

    def absorb(self, state, inbox, local, context):
        return jax.tree.map(lambda x: x * (1 - 1e-3 * self.factor), super().absorb(state, inbox, local, context))

plain = cs.models.mlp(depth=1, width=16)
model = cs.models.from_functions(
    lambda key: plain.init(key, (8, 8), 10), lambda params, x: 2 * plain.apply(params, x), name="twice"
)
planned = worker_sweeps.planned(algorithm=Damped(learning_rate=0.01), model=model, num_rounds=50)
results = [cs.experiments.run_sweep(planned, executor=executor) for executor in sys.argv[1:]]
print(json.dumps([result.loss.values.tolist() for result in results]))
"""


@pytest.mark.slow
def test_scripts_need_no_guard_and_may_use_classes_and_lambdas_of_their_own(tmp_path: pathlib.Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(pathlib.Path(worker_sweeps.__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, script, "local", "processes"], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": paths, "NPROC": "1"},
    )  # fmt: skip
    local, sent = json.loads(done.stdout)
    assert local == sent


@pytest.mark.slow
def test_errors_of_a_worker_are_those_of_this_process() -> None:
    class Broken(DiffusiveCoupling):
        def absorb(self, state: Any, inbox: Any, local: Any, context: Any) -> Any:
            raise ZeroDivisionError("broken on purpose")

    planned: Sweep = worker_sweeps.planned(algorithm=Broken(learning_rate=0.01))
    for executor in (Local(1), Local(2), Processes(2)):
        with pytest.raises(ZeroDivisionError, match="broken on purpose") as error:
            run_sweep(planned, executor=executor)
    assert "in absorb" in error.value.__notes__[-1]
