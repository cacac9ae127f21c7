"""Populations shared out among devices, of one process or several, are the populations of one device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import consilience as cs
from consilience.errors import IncompatiblePair, InvalidSpec
from consilience.graphs import Graph
from consilience.simulation.placement import Reach, place

SCRIPT = Path(__file__).with_name("populations_on_devices.py")

# Sums of some ten numbers of order one, in another order, over twelve rounds: a few units in the last place.
ROUNDING = 1e-13


def run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def assert_agree(differences: dict[str, float], *, least: int) -> None:
    assert len(differences) >= least
    assert max(differences.values()) < ROUNDING, differences


def test_devices_of_one_process() -> None:
    cases = ["neighbour lists", "a matrix", "mini-batches", "absent agents"]
    assert_agree(run([sys.executable, str(SCRIPT), "4", *cases]), least=4)


@pytest.mark.slow
def test_all_cases_on_devices_of_one_process() -> None:
    assert_agree(run([sys.executable, str(SCRIPT), "8"]), least=12)


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [2, 4])
def test_processes(num_processes: int) -> None:
    launch = [sys.executable, "-m", "consilience.cli.main", "launch", "-n", str(num_processes)]
    assert_agree(run([*launch, str(SCRIPT), "0"]), least=12)


@pytest.mark.slow
def test_a_process_that_fails_ends_the_others(tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text("import jax, time\nif jax.process_index():\n    raise SystemExit(3)\ntime.sleep(600)\n")
    command = [sys.executable, "-m", "consilience.cli.main", "launch", "-n", "2", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3
    assert "Process 1 ended with exit code 3" in done.stderr


@pytest.mark.parametrize(
    ("graph", "num_parts", "heard"),
    [
        (cs.graphs.cycle(12), 4, 2),
        (cs.graphs.complete(12), 3, 8),
        (cs.graphs.path(12), 2, 1),
        (cs.graphs.star(12), 4, 9),
        (cs.graphs.random_regular(24, degree=4, seed=1), 4, None),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_only_neighbours_messages_travel(graph: Graph, num_parts: int, heard: int | None) -> None:
    """The tables, followed by hand: what a device hears is what its agents listen to, and each slot finds its own."""
    reach, n = Reach(graph.neighbours, num_parts), graph.num_agents
    size = n // num_parts
    messages = np.arange(n)
    for part in range(num_parts):
        arrived = [messages[part * size : (part + 1) * size]]
        for shift, wanted in reach._wanted.items():
            sender = (part - shift) % num_parts
            arrived.append(messages[sender * size + wanted[sender]])
        everything = np.concatenate(arrived)
        assert len(everything) == size + reach.num_heard
        own = slice(part * size, (part + 1) * size)
        np.testing.assert_array_equal(everything[reach.slots[own]], graph.neighbours.ids[own])
    if heard is not None:
        assert reach.num_heard == heard


def test_sweeps_with_a_store_are_refused_among_joined_processes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("jax.process_count", lambda: 4)
    planned = cs.experiments.resolve_spec({"model": {"family": "mlp", "depth": 0}, "run": {"num_rounds": 1}})
    for options in ({"store": tmp_path}, {"executor": "processes"}):
        with pytest.raises(InvalidSpec, match="one of 4 processes that share populations out"):
            cs.experiments.run_sweep(planned, **options)


def test_agents_that_cannot_be_shared_out_evenly() -> None:
    with pytest.raises(IncompatiblePair, match=r"10 agents .* among 4 devices. Use 12 agents, or 2 devices"):
        place(10, [object()] * 4)  # pyright: ignore[reportArgumentType]
