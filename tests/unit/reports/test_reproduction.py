"""What a report says to make a run again makes that run: the same id."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

import consilience as cs
from conftest import Stored
from consilience.cli.main import run as main
from consilience.experiments import resolve_spec
from consilience.recipes import RECIPES
from consilience.reports import command, missing, python_lines
from consilience.store import Run, Store

CHANGES = {
    "figure-2": {"num_agents": 20, "offsets": (0.0, 0.5)},
    "figure-3": {"num_rounds": 60, "average_after": 40, "networks": ("D = 0", "D = 1"), "adiabatic": ()},
    "methods": {"methods": ("dgd", "isolated"), "settings": ("dgd.weight_decay=0.1",)},
}


@pytest.fixture
def same_store(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default store is the one with the runs, so that nothing is computed."""
    monkeypatch.setenv("CONSILIENCE_STORE", str(stored.store.path))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing should be computed")

    monkeypatch.setattr(importlib.import_module("consilience.experiments.sweep"), "run_ensemble", refuse)


def test_the_command_holds_the_spec(stored: Stored) -> None:
    text = command(stored.spec)
    assert text is not None
    begin, _, rest = text.partition("\n")
    spec, _, end = rest.partition("\nEOF\n")
    assert (begin, end) == ("cat > spec.toml <<'EOF'", "consilience run spec.toml")
    assert resolve_spec(tomllib.loads(spec)).run_id == stored.spec.id
    assert missing(stored.spec) == []


@pytest.mark.usefixtures("same_store")
def test_the_lines_of_python_make_the_same_run(stored: Stored) -> None:
    names: dict[str, Any] = {}
    exec(python_lines(stored.spec), names)
    assert names["result"].run_id == stored.spec.id


@pytest.mark.usefixtures("same_store")
def test_lines_of_a_sweep_from_python_want_its_data_and_no_more(stored: Stored) -> None:
    assert command(stored.python) is None
    assert "the task, the shards, the graph" in missing(stored.python)[0]
    lines = python_lines(stored.python)
    for name in ("task", "shards", "graph"):
        assert f"\n{name} = ...  #" in lines
        lines = lines.replace(f"\n{name} = ...", f"\n{name} = given_{name}")
    task = cs.tasks.load("digits", num_train=100, num_test=30)
    given = {"given_task": task, "given_shards": cs.tasks.by_class(task, num_agents=5)}
    names: dict[str, Any] = given | {"given_graph": cs.graphs.complete(5)}
    exec(lines, names)
    assert names["result"].run_id == stored.python.id


def test_parts_that_are_known_by_content_are_named(stored: Stored, tmp_path: Path) -> None:
    spec = stored.python.spec
    experiment = spec["experiment"] | {"initial_params": {"w": {"array": "0" * 64, "shape": [2], "dtype": "<f4"}}}
    experiment |= {"roles": [1, 0, 0, 0, 0]}
    run = Store(tmp_path).open_run("0" * 64, spec | {"experiment": experiment})
    assert "initial params" in missing(run)[0]
    assert "initial_params=...,  # given in Python" in python_lines(run)
    assert "roles={0: 'server'}," in python_lines(run)


def test_a_computation_from_python_says_what_cannot_be_known(stored: Stored) -> None:
    assert command(stored.computation) is None
    assert "not recorded" in missing(stored.computation)[0]
    assert "computation = ..." in python_lines(stored.computation)


def run_of(recipe: str, config: Any, directory: Path) -> Run:
    """A run that a recipe made, as the command line records it."""
    run = Store(directory).open_run("0" * 64, {"computation": {}, "cells": []})
    run.update_record(source=RECIPES[recipe].source(config))
    return run


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_called_with_the_same_protocol(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command and from the lines of Python."""
    reproduce: Any = importlib.import_module("consilience.cli.reproduce")
    recipe = RECIPES[name]
    config = dataclasses.replace(recipe.presets["quick"](), **CHANGES.get(name, {}))
    run = run_of(name, config, tmp_path)
    called: list[Any] = []
    monkeypatch.setattr(recipe.module, "run", lambda config, execute, **_: called.append(config))
    monkeypatch.setattr(recipe.module, "draw", lambda result: None)
    exec(python_lines(run), {})

    def carry_out(_: Any, config: Any, changes: list[str], *__: Any, **___: Any) -> None:
        called.append(reproduce._with_assignments(config, changes))

    monkeypatch.setattr(reproduce, "carry_out", carry_out)
    text = command(run)
    assert text is not None
    with pytest.raises(SystemExit) as end:
        main(shlex.split(text)[1:])
    assert end.value.code in (0, None)
    assert called == [config, config]


def test_a_setting_that_no_command_can_write_is_said_so(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("0" * 64, {"computation": {}, "cells": []})
    run.update_record(source={"recipe": "figure-3", "preset": "quick", "settings": {"num_test": None}})
    assert command(run) is None
    assert "no way to write" in missing(run)[0]
    assert "num_test=None" in python_lines(run)


def test_a_graph_from_a_file_is_not_in_the_store(tmp_path: Path) -> None:
    run = Store(tmp_path).open_run("0" * 64, {})
    run.update_record(source={"spec": {"graph": {"file": "edges.csv"}}})
    assert "edges.csv" in missing(run)[0]


def test_a_sweep_of_what_no_file_can_hold_has_no_source() -> None:
    resolved = resolve_spec({"run": {"num_rounds": 2, "average_after": None}})
    assert resolved.source is None
    assert resolve_spec({"run": {"num_rounds": 2}}).source == {"spec": {"run": {"num_rounds": 2}}}


def test_the_source_is_no_part_of_the_identity() -> None:
    first = resolve_spec({"run": {"num_rounds": 2}})
    second = resolve_spec({"run": {"num_rounds": 2}, "title": "other", "seed": 0})
    assert first.source != second.source
    assert first.run_id == second.run_id
