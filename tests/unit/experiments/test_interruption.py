"""Sweeps that are killed at any moment, and sweeps of two processes on one store."""

import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import interrupted_sweep
import pytest
import xarray as xr
from interrupted_sweep import CHUNK, NUM_REPLICAS, NUM_ROUNDS

from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.experiments import load_stored
from consilience.store import Run, Store

pytestmark = pytest.mark.usefixtures("compiled_programs")

BLOCK = NUM_ROUNDS * NUM_REPLICAS
"""Rounds × replicas of a block."""


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", interrupted_sweep.__file__, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            yield running
        finally:
            running.kill()


def finish(running: subprocess.Popen[str]) -> None:
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors


def kill_when(running: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """`kill -9`, as soon as something has appeared in the store."""
    deadline = time.monotonic() + 120
    while not happened():
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    running.kill()
    assert running.wait() == -9, "it finished before it could be killed"


def the_run(store: pathlib.Path) -> Run | None:
    found = list(store.glob("runs/*/attempt-0001"))
    return Run(store, found[0].parent.name, 1) if found else None


def has_checkpoint(store: pathlib.Path, block: int) -> bool:
    run = the_run(store)
    return run is not None and (run.path / "checkpoints" / f"block-{block:04d}.npz").exists()


def read(log: pathlib.Path) -> list[dict[str, Any]]:
    return [event for event in map(json.loads, log.read_text().splitlines()) if "block" in event]


def computed(events: list[dict[str, Any]]) -> set[int]:
    return {event["block"] for event in events if event["computing"]}


def first_done(events: list[dict[str, Any]], block: int) -> int:
    """Rounds × replicas that were done after the first chunk of a block."""
    return next(event["done"] for event in events if event["block"] == block and event["computing"])


def assert_same_bits(store: pathlib.Path, expected: xr.Dataset) -> None:
    stored = load_stored(Store(store), "latest")
    xr.testing.assert_identical(stored.drop_attrs(deep=False), expected.drop_attrs(deep=False))


@pytest.fixture(scope="module")
def uninterrupted(compiled_programs: object) -> xr.Dataset:  # noqa: F811
    return interrupted_sweep.run("quench", store=None)


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_where_it_stopped(uninterrupted: xr.Dataset, tmp_path: pathlib.Path) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    with process(store, log, "quench") as first:
        kill_when(first, lambda: has_checkpoint(store, block=0))
    run = the_run(store)
    assert run is not None
    assert run.cells() == []
    with process(store, log, "quench") as second:
        kill_when(second, lambda: run.is_finished("block-0000") and has_checkpoint(store, block=1))
    events = read(log)
    assert first_done(events, block=0) > CHUNK * NUM_REPLICAS  # not from the start
    assert run.cells() == ["block-0000"]
    with process(store, log, "quench") as third:
        finish(third)
    events = read(log)
    assert computed(events) == {1}
    assert events[-1]["loaded"] == BLOCK
    assert first_done(events, block=1) > BLOCK + CHUNK * NUM_REPLICAS
    assert events[-1]["done"] == 2 * BLOCK
    assert_same_bits(store, uninterrupted)


@pytest.mark.slow
def test_two_processes_share_the_work(uninterrupted: xr.Dataset, tmp_path: pathlib.Path) -> None:
    store, go, logs = tmp_path / "store", tmp_path / "go", [tmp_path / "log-0", tmp_path / "log-1"]
    with process(store, logs[0], "quench", go) as one, process(store, logs[1], "quench", go) as other:
        while not all(log.exists() and log.read_text() for log in logs):
            assert one.poll() is None
            assert other.poll() is None
            time.sleep(0.005)
        go.touch()
        finish(one)
        finish(other)
    shares = [computed(read(log)) for log in logs]
    assert sorted([*shares[0], *shares[1]]) == [0, 1]  # each block once
    for log, share in zip(logs, shares, strict=True):
        assert read(log)[-1]["done"] == 2 * BLOCK
        assert read(log)[-1]["loaded"] == (2 - len(share)) * BLOCK
    assert_same_bits(store, uninterrupted)


@pytest.mark.slow
def test_an_adiabatic_sweep_that_is_killed_goes_on_where_it_stopped(tmp_path: pathlib.Path) -> None:
    expected = interrupted_sweep.run("adiabatic_up", store=None)
    store, log = tmp_path / "store", tmp_path / "log"
    with process(store, log, "adiabatic_up") as first:
        kill_when(first, lambda: (run := the_run(store)) is not None and run.is_finished("block-0000"))
    with process(store, log, "adiabatic_up") as second:
        kill_when(second, lambda: has_checkpoint(store, block=2))
    with process(store, log, "adiabatic_up") as third:
        finish(third)
    events = read(log)
    assert computed(events) == {2}
    assert first_done(events, block=2) > 2 * BLOCK + CHUNK * NUM_REPLICAS
    assert_same_bits(store, expected)
