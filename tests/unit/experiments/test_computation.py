"""Computations: produced once, loaded afterwards, cell by cell and side by side."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import xarray as xr

import consilience as cs
from consilience.errors import InvalidSpec, StoreError
from consilience.experiments import (
    Computation,
    NotStoredWarning,
    SweepProgress,
    UnnamedPartError,
    compute,
    identity,
)
from consilience.store import CorruptedCellWarning, Run, Store

NAMES = ["third", "first", "second,D=2"]
PATIENCE = 60
"""Seconds until a test that waits for another thread gives up; it fails then."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Parameters of a computation."""

    power: int = 2
    values: tuple[float, ...] = (0.0, 1.5)


def content(name: str) -> xr.Dataset:
    """A cell, a function of its name."""
    values = np.arange(6.0).reshape(2, 3) + len(name)
    return xr.Dataset({"m": (("coupling", "seed"), values)}, {"coupling": [0.0, 1.0]}, {"name": name})


def computation(
    cells: Mapping[str, Callable[[], xr.Dataset]] | None = None, *, title: str = "mine", **parameters: Any
) -> Computation:
    cells = {name: lambda name=name: content(name) for name in NAMES} if cells is None else cells
    return Computation(title, "tests", {"config": Config(), **parameters}, cells)


def refuse() -> xr.Dataset:
    raise AssertionError("this should have been loaded")


REFUSING = computation(dict.fromkeys(NAMES, refuse))
"""The same computation, whose cells can only be loaded."""


def assert_complete(done: dict[str, xr.Dataset]) -> None:
    assert list(done) == NAMES
    for name, dataset in done.items():
        xr.testing.assert_identical(dataset, content(name))


# ---- produce or load ---------------------------------------------------------------------------------------------


def test_without_a_store_everything_is_computed_in_the_order_of_the_cells() -> None:
    calls: list[str] = []

    def called(name: str) -> xr.Dataset:
        calls.append(name)
        return content(name)

    counted = computation({name: lambda name=name: called(name) for name in NAMES})
    assert_complete(compute(counted, num_threads=1))
    assert calls == NAMES  # a single thread begins them in order
    assert_complete(compute(counted))
    assert sorted(calls) == sorted(2 * NAMES)
    assert compute(computation({})) == {}


def test_the_second_time_nothing_is_computed(tmp_path: pathlib.Path) -> None:
    assert_complete(compute(computation(), store=tmp_path))
    assert_complete(compute(REFUSING, store=str(tmp_path)))
    assert_complete(compute(REFUSING, store=Store(tmp_path)))
    (summary,) = Store(tmp_path).runs()
    assert (summary.title, summary.cells_done, summary.cells_total, summary.problem) == ("mine", 3, 3, None)
    record = Store(tmp_path).find("latest").record
    assert record["wall_seconds"] > 0
    assert {"consilience", "jax", "numpy"} <= set(record["versions"])


def test_force_makes_a_second_attempt(tmp_path: pathlib.Path) -> None:
    compute(computation(), store=tmp_path)
    with pytest.raises(AssertionError, match="should have been loaded"):
        compute(REFUSING, store=tmp_path, force=True)
    assert Store(tmp_path).find("latest").cells() == []
    # It is the newest attempt with which the next command goes on, and the first one stands.
    assert_complete(compute(computation(), store=tmp_path))
    runs = [Store(tmp_path).find("latest", attempt=number) for number in (1, 2)]
    assert [run.cells() for run in runs] == [sorted(NAMES)] * 2
    with pytest.raises(cs.errors.UnknownName):
        Store(tmp_path).find("latest", attempt=3)


def test_progress_counts_cells_and_says_what_was_loaded(tmp_path: pathlib.Path) -> None:
    events: list[SweepProgress] = []
    compute(computation(), store=tmp_path, on_progress=events.append, num_threads=1)
    compute(REFUSING, store=tmp_path, on_progress=events.append, num_threads=1)
    assert [event.replica_rounds_done for event in events] == [1, 2, 3, 1, 2, 3]
    assert [event.replica_rounds_loaded for event in events] == [0, 0, 0, 1, 2, 3]
    assert [event.block for event in events] == [0, 1, 2, 0, 1, 2]
    assert {(event.title, event.num_blocks, event.replica_rounds_total) for event in events} == {("mine", 3, 3)}


def test_after_a_failure_only_the_rest_is_computed(tmp_path: pathlib.Path) -> None:
    begun: list[str] = []

    def fail() -> xr.Dataset:
        raise ZeroDivisionError("cell 'first'")

    def begin(name: str) -> xr.Dataset:
        begun.append(name)
        return content(name)

    cells = {"third": lambda: begin("third"), "first": fail, "second,D=2": lambda: begin("second,D=2")}
    with pytest.raises(ZeroDivisionError, match="cell 'first'"):
        compute(computation(cells), store=tmp_path, num_threads=1)
    kept = Store(tmp_path).find("latest")
    assert "third" in kept.cells()
    assert "first" not in kept.cells()
    assert kept.record["wall_seconds"] > 0
    missing = [name for name in NAMES if name not in kept.cells()]
    begun.clear()
    cells["first"] = lambda: begin("first")
    assert_complete(compute(computation(cells), store=tmp_path))
    assert sorted(begun) == sorted(missing)


def test_an_interruption_begins_no_further_cell(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C, as the main thread meets it between cells: what runs is finished and kept, the rest is not begun."""
    cancelled, begun = threading.Event(), []
    shutdown = ThreadPoolExecutor.shutdown

    def announce(self: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
        shutdown(self, wait=False, cancel_futures=cancel_futures)
        cancelled.set()
        shutdown(self, wait=wait)

    def run_until_cancelled() -> xr.Dataset:
        assert cancelled.wait(PATIENCE)
        return content("first")

    def interrupt(_: SweepProgress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", announce)
    cells = {"third": lambda: content("third"), "first": run_until_cancelled}
    cells |= {f"later-{number}": lambda number=number: begun.append(number) or content("later") for number in range(9)}
    with pytest.raises(KeyboardInterrupt):
        compute(computation(cells), store=tmp_path, num_threads=1, on_progress=interrupt)
    assert begun == []
    kept = Store(tmp_path).find("latest").cells()
    assert "third" in kept
    assert set(kept) <= {"first", "third"}


def test_a_damaged_cell_is_computed_again(tmp_path: pathlib.Path) -> None:
    compute(computation(), store=tmp_path)
    (Store(tmp_path).find("latest").path / "cells" / "first" / "zarr.json").write_text("{}")
    cells = {"third": refuse, "first": lambda: content("first"), "second,D=2": refuse}
    with pytest.warns(CorruptedCellWarning, match="zarr.json has 2 bytes instead of"):
        assert_complete(compute(computation(cells), store=tmp_path))
    assert_complete(compute(REFUSING, store=tmp_path))


# ---- identity ----------------------------------------------------------------------------------------------------


def test_parameters_are_the_identity_and_titles_are_not() -> None:
    same = [computation(title="other"), computation(config=Config(power=2)), REFUSING]
    assert {identity(one.spec) for one in same} == {identity(computation().spec)}
    others = [
        computation(config=Config(power=3)),
        computation(config=Config(values=(0.0, 1.25))),
        computation(array=np.arange(3.0)),
        computation(array=np.arange(3.0) + 1e-12),  # arrays count by content
        computation(graph=cs.graphs.cycle(4)),
        computation(graph=cs.graphs.path(4)),
        computation({"first": refuse}),
        dataclasses.replace(computation(), subject="other"),
    ]
    assert len({identity(one.spec) for one in [computation(), *others]}) == 1 + len(others)
    assert computation().spec["cells"] == NAMES
    with pytest.raises(UnnamedPartError, match="is code"):
        compute(computation(function=len), store="nowhere")


def test_another_title_is_the_same_run(tmp_path: pathlib.Path) -> None:
    compute(computation(), store=tmp_path)
    assert_complete(compute(dataclasses.replace(REFUSING, title="under another name"), store=tmp_path))
    (summary,) = Store(tmp_path).runs()
    assert summary.title == "under another name"


# ---- a store that refuses ----------------------------------------------------------------------------------------


def test_what_a_full_disk_refuses_is_returned_all_the_same(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Run.save

    def save(self: Run, cell_id: str, dataset: xr.Dataset) -> bool:
        if cell_id == "first":
            raise StoreError("Cell 'first' was not saved: no space left on device.")
        return saved(self, cell_id, dataset)

    monkeypatch.setattr(Run, "save", save)
    with pytest.warns(NotStoredWarning, match=r"no space left.*results of first are in what is returned only"):
        assert_complete(compute(computation(), store=tmp_path))
    monkeypatch.undo()
    assert Store(tmp_path).find("latest").cells() == ["second,D=2", "third"]
    cells = {"third": refuse, "first": lambda: content("first"), "second,D=2": refuse}
    assert_complete(compute(computation(cells), store=tmp_path))


def test_a_store_that_cannot_be_written_still_gives_what_it_holds(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute(computation(), store=tmp_path)

    def read_only(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("consilience.store.files.replace_file", read_only)
    with pytest.warns(NotStoredWarning, match="record of run .* was not saved: read-only file system") as caught:
        assert_complete(compute(REFUSING, store=tmp_path))
    assert not [warning for warning in caught if "in what is returned only" in str(warning.message)]  # all is kept


def test_a_store_that_cannot_be_opened_is_an_error_before_anything_runs(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("no store")
    with pytest.raises(StoreError, match="A store is a directory: name another path"):
        compute(REFUSING, store=tmp_path / "file")
    with pytest.raises(InvalidSpec, match="is no cell id"):
        compute(computation({"a/b": refuse}), store=tmp_path / "store")


# ---- side by side ------------------------------------------------------------------------------------------------


def test_cells_run_side_by_side(tmp_path: pathlib.Path) -> None:
    """Each cell waits for the other to have begun: one after the other, they would wait for ever."""
    for store in (None, tmp_path):
        both = threading.Barrier(2)

        def meet(both: threading.Barrier = both) -> xr.Dataset:
            both.wait(PATIENCE)
            return content("met")

        done = compute(computation({"a": meet, "b": meet}), store=store, num_threads=2)
        assert list(done) == ["a", "b"]
    alone = threading.Barrier(2)

    def wait_in_vain() -> xr.Dataset:
        alone.wait(0.05)
        return content("met")

    with pytest.raises(threading.BrokenBarrierError):  # the barrier can fail
        compute(computation({"a": wait_in_vain, "b": wait_in_vain}), num_threads=1)


PROCESS = """
import json, sys, warnings
import xarray as xr
from consilience.experiments import Computation, compute
store, log = sys.argv[1:]
warnings.simplefilter("error")

def cell(name):
    with open(log, "a") as file:
        file.write(name + "\\n")
    return xr.Dataset({"length": len(name)})

names = [f"cell-{number}" for number in range(12)]
print("ready", flush=True)
sys.stdin.readline()
done = compute(Computation("both", "tests", {}, {n: (lambda n=n: cell(n)) for n in names}), store=store)
print(json.dumps({name: int(dataset.length) for name, dataset in done.items()}))
"""


@pytest.mark.slow
def test_two_processes_share_a_computation(tmp_path: pathlib.Path) -> None:
    """They begin together; every cell is computed by one of them, and both have all."""
    store, log = tmp_path / "store", tmp_path / "log"
    command = [sys.executable, "-c", PROCESS, str(store), str(log)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    names = [f"cell-{number}" for number in range(12)]
    for process, (out, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err
        assert json.loads(out) == {name: len(name) for name in names}
    assert sorted(log.read_text().split()) == sorted(names)
    assert Store(store).find("latest").cells() == sorted(names)
