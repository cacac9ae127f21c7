# ruff: noqa: F811 (tests name the fixtures that they import)
"""The command line: its help, its errors, and how it ends."""

import gzip
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import (  # noqa: F401 (fixtures)
    FIGURE,
    SPEC,
    Command,
    Done,
    assert_one_paragraph,
    command,
    compiled_programs,
    no_computing,
    private,
    spec,
)

import consilience as cs
from consilience.cli.application import app
from consilience.errors import DataError, InvalidSpec, UnknownName

COMMANDS = [command.name or str(command.callback.__name__) for command in app.registered_commands if command.callback]
GROUPS = [str(group.name) for group in app.registered_groups]
EXECUTABLE = [sys.executable, "-m", "consilience.cli.main"]


# ---- help --------------------------------------------------------------------------------------------------------


def test_all_commands_are_known() -> None:
    assert set(COMMANDS) >= {"reproduce", "run", "sweep", "list", "show", "plot", "explain", "data", "check"}
    assert GROUPS == ["compare", "predict"]


@pytest.mark.parametrize("name", [*COMMANDS, *GROUPS, "compare algorithms", "predict transition", "predict rounds"])
def test_every_command_has_help(command: Command, name: str) -> None:
    done = command(*name.split(), "--help")
    assert done.code == 0
    assert f"Usage: consilience {name}" in done.out
    assert command(*name.split(), "-h").out == done.out
    summary = done.out.split("\n\n")[0].splitlines()
    assert len(" ".join(summary)) > 30


def test_help_lists_the_commands(command: Command) -> None:
    done = command("--help")
    assert done.code == 0
    assert all(f" {name} " in done.out for name in [*COMMANDS, *GROUPS])
    assert command().out.rstrip() == done.out.rstrip()


def test_the_executable(private: Path) -> None:
    done = subprocess.run([*EXECUTABLE, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"consilience {cs.__version__}\n"
    done = subprocess.run([*EXECUTABLE, "list", "recipe"], capture_output=True, text=True)
    assert_one_paragraph(Done(done.returncode, done.stdout, done.stderr), "Did you mean 'recipes'")
    done = subprocess.run([*EXECUTABLE, "--debug", "list", "recipe"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "UnknownName: 'recipe' is not" in done.stderr


# ---- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["reproduce", "figure3"], "figure-3"),
        (["reproduce", "figure-3", "--dataset", "mnits"], "mnist"),
        (["reproduce", "figure-3", "--set", "num_round=3"], "num_rounds"),
        (["reproduce", "figure-2", "--set", "depth=[1]"], "depths"),
        (["compare", "--dataset", "mnits"], "mnist"),
        (["compare", "--set", "num_start=3"], "num_starts"),
        (["predict", "transition", "--dataset", "mnits"], "mnist"),
        (["predict", "transition", "--graph", "cicle"], "cycle"),
        (["predict", "transition", "--partition", "dirichle"], "dirichlet"),
        (["predict", "transition", "--set", "num_realization=3"], "num_realizations"),
        (["predict", "transition", "--set", "grph.degree=3"], "graph"),
        (["predict", "transition", "--graph", "random_regular", "--set", "graph.degre=3"], "degree"),
        (["list", "algorithm"], "algorithms"),
        (["explain", "dgdd"], "dgd"),
        (["check", "isolate"], "isolated"),
        (["sweep", "--over", "couplin=0,1"], "coupling"),
        (["sweep", "--over", "coupling=0,1", "--protocol", "adiabatic"], "adiabatic_up"),
        (["sweep", "--over", "coupling=0,1", "--set", "modl.depth=1"], "model"),
        (["sweep", "--over", "coupling=0,1", "--set", "model.dept=1"], "depth"),
    ],
)
def test_unknown_names_get_the_nearest(
    command: Command, no_computing: None, arguments: list[str], nearest: str
) -> None:
    done = command(*arguments)
    assert_one_paragraph(done, "Did you mean", f"'{nearest}'", "Known: ")


def test_unknown_commands_get_the_nearest(command: Command) -> None:
    done = command("lst")
    assert done.code == 2
    assert "Did you mean 'list'" in done.err
    done = command("predict", "transitions")
    assert done.code == 2
    assert "Did you mean 'transition'" in done.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "missing.toml"], ["There is no spec file missing.toml", "consilience explain spec"]),
        (["run", "."], ["cannot be read"]),
        (["sweep", "--over", "coupling"], ["'coupling' sets nothing; write path=value"]),
        (["sweep", "--over", "coupling="], ["values of coupling are numbers"]),
        (["sweep", "--over", "coupling=0,a"], ["'a': values of coupling are numbers"]),
        (["sweep", "--over", "coupling=0,-1"], ["negative coupling pushes the agents apart without bound"]),
        (["sweep", "--over", "coupling=0", "--set", "task=digits"], ["this is a table. Write [task] and"]),
        (["sweep", "--over", "coupling=0", "--set", "graph.family=3"], ["[graph] family = 3: this is a name"]),
        (["reproduce", "figure-3", "--quick", "--full"], ["contradict each other"]),
        (["reproduce", "figure-3", "--quick", "--set", "num_rounds=many"], ["num_rounds='many'", "like 4000"]),
        (["reproduce", "figure-3", "--quick", "--set", "couplings=3"], ["couplings=3: these are several"]),
        (["reproduce", "figure-3", "--quick", "--set", "couplings=[3, 1]"], ["in increasing order"]),
        (["reproduce", "figure-3", "--quick", "--set", "num_rounds=60"], ["average_after=2000 leaves no round"]),
        (["reproduce", "figure-2", "--dataset", "mnist"], ["uses no data", "`consilience predict transition --data"]),
        (["reproduce", "figure-2", "--set", "depths=1"], ["depths=1: these are several. Write depths=(0, 1, 2)"]),
        (["reproduce", "figure-2", "--set", "depths=[]"], ["depths=(): these are values like 0"]),
        (["reproduce", "figure-2", "--set", "depths=[1.5]"], ["depths=(1.5,): these are values like 0"]),
        (["reproduce", "figure-2", "--set", "spans=[10, 10]"], ["each of them once"]),
        (["reproduce", "figure-2", "--set", 'couplings=["a"]'], ["these are values like 0.0"]),
        (["reproduce", "figure-2", "--set", "couplings=[3, 1]"], ["a sweep needs a list of increasing σ̂"]),
        (["reproduce", "figure-2", "--set", "plane_couplings=[1]"], ["panels c, d and e show one coupling each"]),
        (["compare", "--quick", "--dataset", "digits"], ["--quick compares on digits alone", "Leave one of them out"]),
        (["compare", "--dataset", "digits", "--dataset", "digits"], ["each of them once"]),
        (["compare", "--quick", "--set", "depths=[]"], ["depths=(): these are values like 0"]),
        (["compare", "--quick", "--set", "couplings=[0, 3]"], ["needs two couplings above 0"]),
        (["compare", "--quick", "--set", "num_agents=2"], ["an order of learning needs three agents"]),
        (["compare", "--quick", "--set", "num_starts=0"], ["num_starts=0"]),
        (["data", "--data-dir", "nowhere"], ["data_dir='nowhere' is not a directory"]),
        (["show"], ["is empty. Run something first"]),
        (["plot", "abc"], ["is empty. Run something first"]),
        (["check", "mine.py:METHOD"], ["'mine.py:METHOD' is not a method, nor FILE.py:NAME of one"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_mistakes_are_one_paragraph(
    command: Command, no_computing: None, arguments: list[str], parts: list[str]
) -> None:
    assert_one_paragraph(command(*arguments), *parts)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--depth", "-1"], ["depth=-1: the depth D counts hidden layers"]),
        (["--", "-1"], ["depth=-1: the depth D counts hidden layers"]),
        (["--agents", "0"], ["num_agents=0"]),
        (["--graph", "missing.csv", "--set", "graph.directed=false"], ["missing.csv"]),
        (["--graph", "edges.csv"], ["[graph]: missing a required argument: 'directed'"]),
        (["--graph", "edges.csv", "--set", "graph.directed=false"], ["has 3 agents, but", "Use a graph of 10 agents"]),
        (["--set", "graph=cycle"], ["'graph' is not an argument of a prediction. Known: "]),
        (["--set", "depths=[1]"], ["'depths' is not an argument of a prediction. Known: "]),
        (["--set", "definitions=3"], ["'definitions' is not an argument of a prediction. Known: "]),
        (["--set", "run.num_rounds=3"], ["'run' is not a table of a prediction. Known: task, partition, graph"]),
        (["--set", "couplings=[-1, 1]"], ["couplings holds -1.0 at [0]"]),
        (["--set", "couplings=[3, 1]"], ["couplings=[3, 1]: a transition lies between the first coupling and others"]),
        (["--set", "couplings=many"], ["couplings='many'", "Write a number or an array of numbers"]),
        (["--set", "num_rounds=0"], ["num_rounds=0: the theory runs as long as the experiment"]),
        (["--set", "learning_rate=fast"], ["learning_rate='fast': this has to be a positive number"]),
        (["--set", "partition.alpha=0.5"], ["The partition 'by_class' was given alpha"]),
        (["--partition", "dirichlet"], ["alpha"]),
        (["--set", "task.num_train=100000"], ["num_train=100000: this task has 1437 such samples"]),
        (["--set", "num_realizations"], ["'num_realizations' sets nothing; write path=value"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_mistakes_in_a_prediction(command: Command, arguments: list[str], parts: list[str]) -> None:
    Path("edges.csv").write_text("source,target\n0,1\n1,2\n2,0\n")
    few = ["--set", "num_groups=2"] if "num_groups" not in str(arguments) else []
    assert_one_paragraph(command("predict", "transition", *few, *arguments), *parts)


@pytest.mark.parametrize("arguments", [["--depth", "one"], ["deep"], ["--agents", "many"]], ids=" ".join)
def test_numbers_are_numbers(command: Command, arguments: list[str]) -> None:
    done = command("predict", "transition", *arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Invalid value for" in done.err
    assert "Traceback" not in done.err


def test_mistakes_in_a_spec(command: Command, spec: Path, no_computing: None) -> None:
    def wrong(*changes: str) -> Done:
        return command("run", spec, *(part for change in changes for part in ("--set", change)))

    assert_one_paragraph(wrong("over.coupling=[1.0, -1.0]"), "must be a finite number that is not negative")
    assert_one_paragraph(wrong("algorithm.coupling=-1.0"), "coupling=-1.0")
    assert_one_paragraph(
        wrong("graph.family=complete", "graph.num_agents=5"), "There are 10 shards, but complete(5) has 5 agents",
        "Use a graph of 10 agents",
    )  # fmt: skip
    assert_one_paragraph(
        wrong("graph.num_agents=10"), "The table [graph] does not say which; write family = 'complete'"
    )
    assert_one_paragraph(wrong("task.num_train=10000"), "num_train=10000: this task has 1437 such samples")
    spec.write_text(SPEC + "[over]\n")
    assert_one_paragraph(command("run", spec), "tiny.toml is not a TOML file")
    assert not Path("store").exists()


def test_debug_shows_where(command: Command) -> None:
    with pytest.raises(UnknownName):
        command("--debug", "explain", "dgdd")


def test_bad_data_is_refused(command: Command, private: Path, no_computing: None) -> None:
    folder = private / "data" / "mnist"
    folder.mkdir(parents=True)
    for half, count in (("train", 20), ("t10k", 10)):
        images = struct.pack(">4B3I", 0, 0, 8, 3, count, 28, 28) + bytes(count * 28 * 28)
        labels = struct.pack(">4BI", 0, 0, 8, 1, count) + bytes(range(10)) * (count // 10)
        for kind, content in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{half}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    sweep = ["sweep", "--over", "coupling=0,1", "--set", "task.name=mnist", "--data-dir", "data"]
    assert "20 + 10" in command("data", "--data-dir", "data").out
    damaged = folder / "train-images-idx3-ubyte.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20])
    assert_one_paragraph(command(*sweep), "train-images-idx3-ubyte.gz", "damaged gzip file", "Delete the file")
    damaged.write_bytes(gzip.compress(gzip.decompress(whole)[:-1]))
    assert_one_paragraph(command(*sweep), "is truncated", "15680 bytes, and 15679 bytes follow")
    assert "is truncated" in command("data", "--data-dir", "data").out
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert_one_paragraph(command(*sweep), "lacks t10k-labels-idx1-ubyte.gz")
    # What cannot be said in a spec is refused by the functions.
    good, holes = np.zeros((4, 2)), np.array([[0.0, 1.0], [np.nan, 0.0], [0.0, 0.0], [1.0, 1.0]])
    with pytest.raises(DataError, match=r"x holds 1 values that are not finite, the first at x\[1, 0\] = nan"):
        cs.tasks.from_arrays(holes, [0, 1, 0, 1], good, [0, 1, 0, 1])
    with pytest.raises(DataError, match=r"y holds 1 labels outside 0 … 1, the first at y\[3\] = 2"):
        cs.tasks.from_arrays(good, [0, 1, 0, 2], good, [0, 1, 0, 1], num_classes=2)
    task = cs.tasks.from_arrays(good, [0, 1, 0, 1], good, [0, 1, 0, 1])
    with pytest.raises(InvalidSpec, match="Agent 1 has no data: its shard is empty"):
        cs.simulate(
            cs.algorithms.DiffusiveCoupling(learning_rate=0.1), model=cs.models.mlp(depth=0), task=task,
            shards=[[0, 1], []], graph=cs.graphs.complete(2), num_rounds=1,
        )  # fmt: skip


# ---- failures ----------------------------------------------------------------------------------------------------


def test_a_store_that_is_no_directory(command: Command, spec: Path, no_computing: None) -> None:
    Path("file").touch()
    for arguments in (["list"], ["show"], ["plot"], ["run", spec], ["reproduce", "figure-3", *FIGURE]):
        done = command(*arguments, "--store", "file")
        assert_one_paragraph(done, "A store is a directory: name another path", code=1)


def test_ctrl_c_says_how_to_go_on(command: Command, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("consilience.experiments.run_sweep", interrupt)
    done = command("run", spec)
    assert done.code == 130
    assert done.err == "Interrupted. What was finished is stored; the same command goes on from there.\n"


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_again(command: Command, spec: Path, private: Path) -> None:
    arguments = ["run", str(spec), "--set", "run.num_rounds=20000", "--set", "over.seed=[0, 1, 2]",
                 "--set", "over.coupling=[0.0, 1.0, 2.0, 3.0]"]  # fmt: skip
    with subprocess.Popen([*EXECUTABLE, *arguments], stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            while not list(private.glob("store/runs/*/attempt-0001/cells/*")):
                assert process.poll() is None
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err.endswith("Interrupted. What was finished is stored; the same command goes on from there.\n")
    assert "Traceback" not in err
    done = command(*arguments, "--json")
    assert done.code == 0
    assert len(done.json["rows"]) == 12


def test_a_file_in_the_way_of_figures(command: Command, spec: Path) -> None:
    assert command("run", spec).code == 0
    Path("figures").touch()
    assert_one_paragraph(command("plot"), "File exists (figures)", code=1)


def test_beyond_the_stability_limit(command: Command, spec: Path) -> None:
    done = command("run", spec, "--set", "over.coupling=[1e30, 0.0]")
    assert done.code == 0
    (warning,) = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert "coupling=1e+30 is beyond the stability limit 200 of complete(10)" in warning
    diverged, fine = (line.split() for line in done.out.splitlines() if "diverged" in line or "completed" in line)
    assert diverged[1:3] == ["nan", "nan"]
    assert diverged[3] == "diverged"
    number = int(diverged[5].rstrip(")"))
    assert 1 <= number <= 20
    assert fine[-1] == "completed"
    rows = command("run", spec, "--set", "over.coupling=[1e30, 0.0]", "--json").json["rows"]
    assert rows[0] == {"coupling": 1e30, "accuracy": None, "loss": None, "outcome": "diverged", "final_round": number}
    assert rows[1]["outcome"] == "completed"
