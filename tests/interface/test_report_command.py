"""`consilience report`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commands import Command, assert_one_paragraph, command, compiled_programs, no_computing, private, spec  # noqa: F401

from consilience.reports import command as command_of
from consilience.store import Store


@pytest.fixture
def run_id(command: Command, spec: Path) -> str:  # noqa: F811
    done = command("run", spec, "--json")
    assert done.code == 0, done.err
    return done.json["run_id"]


def test_a_run_becomes_a_page_and_its_command_the_same_run(
    command: Command,  # noqa: F811
    private: Path,  # noqa: F811
    run_id: str,
    request: pytest.FixtureRequest,
) -> None:
    done = command("report", run_id[:8])
    assert done.code == 0, done.err
    path = private / f"report-{run_id[:12]}.html"
    assert done.out == f"report: {path.name}\n"
    assert "<title>tiny</title>" in path.read_text(encoding="utf-8")

    request.getfixturevalue("no_computing")
    text = command_of(Store(private / "store").find(run_id))
    assert text is not None
    written, _, last = text.partition("\nEOF\n")
    (private / "spec.toml").write_text(written.partition("\n")[2], encoding="utf-8")
    assert command(*last.split()[1:], "--json").json["run_id"] == run_id  # and nothing was computed

    twice = command("report", "latest", run_id, "--output", private / "new" / "page.html")
    assert twice.code == 0
    assert "<h1>tiny</h1>" in (private / "new" / "page.html").read_text(encoding="utf-8")

    run = Store(private / "store").find(run_id)
    shutil.rmtree(run.path / "cells")
    unfinished = command("report", run_id)
    assert unfinished.code == 0
    assert "is not finished: 0 of 1 blocks" in unfinished.err
    assert_one_paragraph(command("report", "feed"), "'feed' is not a run in the store", run_id[:12])


def test_an_empty_store_says_so(command: Command, private: Path) -> None:  # noqa: F811
    assert_one_paragraph(command("report", "latest"), "is empty", "Run something first")


def test_a_run_of_another_program_is_said_to_be_one(command: Command, private: Path) -> None:  # noqa: F811
    Store(private / "store").open_run("0" * 64, {"coupling": 30.0, "cells": 4})
    assert_one_paragraph(command("report", "latest"), "not of the form that this version writes", "0" * 12, code=1)
