"""Fixtures and specs for tests that run commands in this process."""

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.cli.main import run

SPEC = """
title = "tiny"
[task]
name = "digits"
num_train = 200
num_test = 60
[model]
family = "mlp"
depth = 0
[algorithm]
name = "diffusive_coupling"
learning_rate = 0.01
[run]
num_rounds = 20
observe_every = 10
average_after = 10
batch_size = 8
[over]
coupling = [30.0, 0.0]
"""
FIGURE = [
    "--quick", "--set", 'networks=["D = 0", "D = 1"]', "--set", "couplings=[0, 3.2, 30, 300]", "--set", "num_rounds=60",
    "--set", "average_after=40", "--set", "num_realizations=2", "--set", "adiabatic=[]", "--set", "num_train=200",
    "--set", "num_test=60", "--set", "batch_size=8", "--set", "observe_every=20",
]  # fmt: skip
FIGURE_2 = [
    "--quick", "--set", "couplings=[0, 0.5, 3, 30]", "--set", "num_agents=10", "--set", "num_realizations=3",
    "--set", "adiabatic=[2]", "--set", "spans=[10]", "--set", "wait_depths=[1]", "--set", "offsets=[0]",
]  # fmt: skip
COMPARE = [
    "--quick", "--set", "depths=[1]", "--set", "couplings=[0, 3.2, 30, 300]", "--set", "num_rounds=60",
    "--set", "average_after=40", "--set", "num_realizations=2", "--set", "num_starts=2",
]  # fmt: skip
PREDICT = [
    "predict", "transition", "--set", "num_realizations=2", "--set", "num_groups=2", "--set", "num_rounds=500",
    "--set", "couplings=[0, 1, 10, 100]",
]  # fmt: skip


@dataclasses.dataclass
class Done:
    """What a command left behind."""

    code: Any
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Done]


@pytest.fixture
def private(compiled_programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """An empty working directory with a store of its own; nothing of the machine is seen or changed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONSILIENCE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CONSILIENCE_DATA", raising=False)
    return tmp_path


@pytest.fixture
def command(private: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process."""

    def call(*arguments: object) -> Done:
        capsys.readouterr()
        code: Any = 0
        try:
            run([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def spec(private: Path) -> Path:
    path = private / "tiny.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture
def no_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing should be computed")

    monkeypatch.setattr(importlib.import_module("consilience.experiments.sweep"), "run_ensemble", refuse)


def assert_one_paragraph(done: Done, *expected: str, code: int = 2) -> None:
    """An error: nothing on standard output, one line on standard error."""
    assert done.code == code, done
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert done.err.rstrip().endswith(lines[0])
    assert "Traceback" not in done.err
    for part in expected:
        assert part in lines[0]
