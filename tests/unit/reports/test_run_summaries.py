"""Lists of runs: what each is, and that a damaged one harms no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conftest import Stored
from consilience.reports import summaries, summary
from consilience.store import Run, Store


def test_a_sweep_is_told_in_words(stored: Stored) -> None:
    found = summary(stored.spec)
    assert (found.kind, found.task, found.graph, found.num_agents) == ("sweep", "digits", "complete(5)", 5)
    assert found.algorithm == "DGD(learning_rate=swept, weight_decay=0.001)"
    assert found.model == "MLP(depth=0, width=20, activation='relu', initialiser='normal')"
    assert found.swept == {"learning_rate": [0.01, 0.1, 1e30], "seed": [0, 1]}
    assert (found.protocol, found.num_rounds, found.is_finished) == ("quench", 4, True)
    assert found.wall_seconds > 0
    assert found.num_bytes > 1000
    assert found.versions["jax"]


def test_a_run_is_told_alike_alone_and_in_a_list(stored: Stored) -> None:
    assert summary(stored.spec) in summaries(stored.store)


def test_a_computation_is_told_in_words(stored: Stored) -> None:
    found = summary(stored.computation)
    assert (found.kind, found.title, found.algorithm, found.blocks_total) == ("computation", "squares", "square", 2)


def test_a_run_stored_without_names_shows_what_its_content_is(stored: Stored, tmp_path: Path) -> None:
    run = Store(tmp_path).open_run(stored.spec.id, stored.spec.spec)
    found = summary(run)
    assert found.task.startswith("task ")
    assert found.graph.startswith("graph ")
    assert (found.title, found.is_finished, found.wall_seconds) == ("untitled", False, 0.0)


def test_an_unfinished_run_says_so(unfinished: Run) -> None:
    found = summary(unfinished)
    assert not found.is_finished
    assert found.blocks_done == found.blocks_total - 1


@pytest.mark.parametrize("content", ["{", "[]", '{"cells": ["a"]}', '{"experiment": 3, "cells": [], "over": 1}', None])
def test_a_damaged_run_is_listed_as_such_and_last(stored: Stored, tmp_path: Path, content: str | None) -> None:
    shutil.copytree(stored.store.path, tmp_path / "store")
    store = Store(tmp_path / "store")
    spec = store.find(stored.spec.id).path.parent / "spec.json"
    spec.unlink()
    if content is not None:
        spec.write_text(content)
    found = summaries(store)
    assert sorted(one.kind for one in found) == ["computation", "damaged", "sweep"]
    assert found[-1].id == stored.spec.id
    assert found[-1].problem


def test_an_empty_store_has_no_runs(tmp_path: Path) -> None:
    assert summaries(Store(tmp_path / "nothing")) == []
