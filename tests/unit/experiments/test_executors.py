"""Executors: what they are given, what becomes of blocks, and threads of this process."""

import importlib
import pickle
import subprocess
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import consilience as cs
import worker_sweeps
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.cli import main
from consilience.errors import InvalidSpec, StoreError, UnknownName
from consilience.experiments import (
    Block,
    Local,
    LostWorkerWarning,
    Processes,
    Ray,
    SweepProgress,
    WorkerLost,
    make_executor,
    run_sweep,
)
from consilience.experiments.executors import Chunk, Failed, Finished, Held, run_blocks, schedule
from consilience.experiments.executors.pool import Lost, Stopped, attempt
from consilience.store import CorruptedCellWarning, Run, Store

pytestmark = pytest.mark.usefixtures("compiled_programs")


def assert_identical(one: xr.Dataset, other: xr.Dataset) -> None:
    """To the bit."""
    xr.testing.assert_identical(one.drop_attrs(deep=False), other.drop_attrs(deep=False))


# ---- the schedule ------------------------------------------------------------------------------------------------


class Script:
    """An executor and its pool, whose answers about each block are written down before."""

    def __init__(self, answers: dict[int, list[Any]] | None = None, *, size: int = 2) -> None:
        self.answers, self.size = answers or {}, size
        self.submitted: list[tuple[int, Any]] = []
        self.running: deque[int] = deque()
        self.most_running = 0
        self.most: int | None = None
        self.is_closed = False

    def open(self, job: Any, most: int) -> "Script":
        self.most = most
        return self

    def submit(self, block: Block, initial_params: Any) -> None:
        self.submitted.append((block.index, initial_params))
        self.running.append(block.index)
        self.most_running = max(self.most_running, len(self.running))

    def receive(self, on_chunk: Callable[[Chunk], None], timeout: float | None) -> Any:
        if not self.running:
            assert timeout is not None, "nothing to wait for"
            return None
        index = self.running.popleft()
        on_chunk(Chunk(index, 1, 1.0))
        answers = self.answers.get(index)
        if answers:
            return answers.pop(0)
        return Finished(index, xr.Dataset(), was_stored=False, is_stored=False)

    def close(self) -> None:
        self.is_closed = True


class Notes:
    """A collector that writes down what it is told."""

    def __init__(self) -> None:
        self.finished: list[int] = []

    def initial_params(self, block: Block) -> Any:
        if block.follows is None:
            return None
        assert block.follows in self.finished
        return f"after {block.follows}"

    def under_way(self, chunk: Chunk) -> None: ...

    def take(self, finished: Finished) -> None:
        self.finished.append(finished.block)


def blocks(*follows: int | None) -> list[Block]:
    return [Block(index, (index,), before) for index, before in enumerate(follows)]


def carried_out(script: Script, *follows: int | None) -> Notes:
    notes = Notes()
    no_job: Any = None
    run_blocks(script, no_job, blocks(*follows), notes)
    assert script.is_closed
    return notes


def test_blocks_begin_in_order_and_no_more_than_there_is_room_for() -> None:
    script = Script()
    assert carried_out(script, None, None, None, None).finished == [0, 1, 2, 3]
    assert script.most_running == 2
    assert script.most == 4


def test_a_block_waits_for_the_one_that_it_follows() -> None:
    script = Script(size=9)
    carried_out(script, None, 0, 1, None, 3)
    assert script.submitted == [(0, None), (3, None), (1, "after 0"), (4, "after 3"), (2, "after 1")]
    assert script.most == 2


def test_the_rest_of_a_chain_follows_a_block_that_was_stored_before() -> None:
    script, notes = Script(), Notes()
    notes.finished.append(0)
    no_job: Any = None
    run_blocks(script, no_job, blocks(None, 0, 1)[1:], notes)
    assert script.submitted == [(1, "after 0"), (2, "after 1")]


def test_a_block_whose_worker_dies_is_computed_again() -> None:
    script = Script({1: [Lost(1, "by signal SIGKILL")] * 2})
    with pytest.warns(LostWorkerWarning, match="computed block-0001, by signal SIGKILL; the block is computed again"):
        notes = carried_out(script, None, None, 1)
    assert notes.finished == [0, 1, 2]
    assert [index for index, _ in script.submitted] == [0, 1, 1, 1, 2]


def test_a_block_that_kills_three_workers_is_given_up() -> None:
    script = Script({0: [Lost(0, "by signal SIGKILL")] * 3})
    with (
        pytest.warns(LostWorkerWarning),
        pytest.raises(WorkerLost, match=r"block-0000 was given up: its worker died 3 times.*SIGKILL\. Memory") as error,
    ):
        carried_out(script, None, None)
    assert script.is_closed
    assert "\n" not in str(error.value)


def test_a_block_that_another_sweep_computes_is_looked_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "_SECONDS_BETWEEN_LOOKS", 0.01)
    script = Script({0: [Held(0)] * 5})  # more often than a worker may die
    assert carried_out(script, None, None, None).finished == [1, 2, 0]


def test_the_error_of_a_block_ends_the_sweep() -> None:
    script = Script({0: [Failed(0, InvalidSpec("no such thing"))]})
    with pytest.raises(InvalidSpec, match="no such thing"):
        carried_out(script, None, None)
    assert script.is_closed


# ---- messages ----------------------------------------------------------------------------------------------------


def job(block: Block, initial_params: Any, on_chunk: Any) -> Finished:
    """What a worker is given, in short."""
    warnings.warn(CorruptedCellWarning(Path("cell"), "it is damaged"), stacklevel=1)
    if initial_params == "bad":
        raise UnknownName.among("thing", "thin", ["thing"])
    if on_chunk(Chunk(0, 1, 1.0)):
        raise Stopped
    return Finished(block.index, xr.Dataset({"x": 1}), was_stored=False, is_stored=initial_params == "stored")


def test_what_a_worker_sends_back() -> None:
    block, work = Block(3, (0,)), pickle.loads(pickle.dumps(job))
    kept = attempt(work, block, None, lambda chunk: None)
    assert isinstance(kept, Finished)
    assert kept.dataset is not None
    stored = pickle.loads(pickle.dumps(attempt(work, block, "stored", lambda chunk: False)))
    assert stored.dataset is None  # the sweep reads it from the store
    ((warning, filename, _),) = stored.warnings
    assert isinstance(warning, UserWarning)
    assert "it is damaged" in str(warning)
    assert filename == __file__
    failed = attempt(work, block, "bad", lambda chunk: None)
    assert isinstance(failed, Failed)
    error = pickle.loads(pickle.dumps(failed.error))
    assert isinstance(error, UnknownName)
    assert str(error).startswith("'thin' is not a thing. Did you mean 'thing'?")
    assert "in job" in error.__notes__[0]  # where
    with pytest.raises(Stopped):
        attempt(work, block, None, lambda chunk: True)


# ---- names and numbers -------------------------------------------------------------------------------------------


def test_executors_have_names() -> None:
    assert make_executor("local", num_workers=3) == Local(3)
    assert make_executor("processes") == Processes(None, threads_per_worker=1)
    assert make_executor("ray", address="auto", num_workers=2) == Ray("auto", num_workers=2)
    with pytest.raises(UnknownName, match=r"'process' is not an executor\. Did you mean 'processes'"):
        run_sweep(worker_sweeps.planned(), executor="process")
    with pytest.raises(InvalidSpec, match="which runs on this machine"):
        make_executor("processes", address="auto")
    for bad in (0, -1, 1.5, True):
        with pytest.raises(InvalidSpec, match=rf"Processes\(num_workers={bad}\): this is counted"):
            make_executor("processes", num_workers=bad)  # pyright: ignore[reportArgumentType]


def test_ray_that_is_not_installed_is_a_helpful_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("consilience.experiments.executors.ray"), "ray", None)
    with pytest.raises(InvalidSpec, match=r"not installed.*pip install 'consilience\[ray\]', or use executor="):
        run_sweep(worker_sweeps.planned(), executor="ray")


def test_what_cannot_be_sent_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    lock = threading.Lock()
    plain = cs.models.softmax_regression()
    model = cs.models.from_functions(
        lambda key: plain.init(key, (8, 8), 10), lambda params, x: (lock, plain.apply(params, x))[1], name="locked"
    )
    with pytest.raises(
        InvalidSpec, match=r"(?s)apply.* cannot be sent.*lock.*importable|in a module that can be imported"
    ):
        run_sweep(worker_sweeps.planned(model=model), executor="processes")


@pytest.mark.parametrize(
    "command",
    [
        ["sweep", "--over", "coupling=0,1"],
        ["run", "spec.toml"],
        ["reproduce", "figure-3", "--quick"],
    ],
    ids=lambda command: command[0],
)
def test_commands_say_where_blocks_run(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def tell(work: Any, *, executor: Any, **_: Any) -> None:
        raise InvalidSpec(f"it would run on {executor}")

    def error(*options: str) -> str:
        with pytest.raises(SystemExit) as end:
            main.run([*command, "--store", str(tmp_path), *options])
        assert end.value.code == 2
        return capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cs.experiments, "run_sweep", tell)
    Path("spec.toml").write_text("[over]\ncoupling = [0.0, 1.0]\n")
    assert "it would run on Local(num_threads=None)" in error()
    assert "it would run on Processes(num_workers=3," in error("--executor", "processes", "--workers", "3")
    assert "it would run on Ray(address='auto'," in error("--executor", "ray", "--address", "auto")
    assert "Did you mean 'processes'" in error("--executor", "process")


def test_a_store_that_workers_and_this_process_do_not_share_is_an_error(tmp_path: Path) -> None:
    planned = worker_sweeps.planned()
    assert planned.run_id is not None
    assert planned.spec is not None
    progress = worker_sweeps._sweep._Progress(planned, Store(tmp_path).open_run(planned.run_id, planned.spec), None)
    with pytest.raises(StoreError, match=r"saved block-0001, but the store .* a file system that all of them see"):
        progress.take(Finished(1, None, was_stored=False, is_stored=True))


# ---- threads -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(compiled_programs: object) -> xr.Dataset:  # noqa: F811
    """Three blocks, one after the other."""
    return run_sweep(worker_sweeps.planned(), executor=Local(1))


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[worker_sweeps.Orders]:
    with worker_sweeps.obedient(tmp_path / "orders") as given:
        yield given


@pytest.mark.parametrize("num_threads", [2, 3])
def test_the_number_of_threads_changes_no_bit(num_threads: int, alone: xr.Dataset, tmp_path: Path) -> None:
    events, threads = [], set()

    def note(event: SweepProgress) -> None:
        events.append(event)
        threads.add(threading.current_thread())

    beside = run_sweep(worker_sweeps.planned(), executor=Local(num_threads), store=tmp_path, on_progress=note)
    assert_identical(beside, alone)
    assert threads == {threading.current_thread()}
    done = [event.replica_rounds_done for event in events]
    assert done == sorted(done)
    assert done[-1] == events[0].replica_rounds_total
    assert run_sweep(worker_sweeps.planned(), store=tmp_path).equals(beside)


@pytest.mark.slow
def test_chains_run_side_by_side(orders: worker_sweeps.Orders) -> None:
    planned = worker_sweeps.planned("adiabatic_up")
    assert [(block.index, block.follows) for block in planned.blocks] == [(0, None), (1, 0), (2, None), (3, 2)]
    expected = run_sweep(planned, executor=Local(1))
    orders.hold(0)

    def note(event: SweepProgress) -> None:
        if event.block == 3:
            orders.release(0)

    assert_identical(run_sweep(planned, executor=Local(4), on_progress=note), expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_stops_all_blocks_and_keeps_what_they_did(
    error: type[BaseException], alone: xr.Dataset, orders: worker_sweeps.Orders, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(worker_sweeps._sweep, "_CHECKPOINT_SECONDS", 1e9)  # none but because of the interruption
    planned = worker_sweeps.planned()
    for block in (0, 1, 2):
        orders.hold(block)

    def interrupt(event: SweepProgress) -> None:
        if orders.arrived() == {0, 1, 2}:
            raise error

    with pytest.raises(error):
        run_sweep(planned, store=tmp_path, executor=Local(3), on_progress=interrupt)
    run = Store(tmp_path).find("latest")
    assert run.cells() == []
    for block in planned.blocks:
        stopped = run.load_checkpoint(block.name)
        assert stopped is not None
        assert stopped[1]["round"] == 2 * worker_sweeps.CHUNK
        orders.release(block.index)
    done: list[int] = []
    resumed = run_sweep(
        planned, store=tmp_path, executor=Local(1), on_progress=lambda event: done.append(event.replica_rounds_done)
    )
    assert_identical(resumed, alone)
    assert done[0] == 3 * worker_sweeps.CHUNK * len(worker_sweeps.OVER["quench"]["coupling"])  # not from the start


def test_the_error_of_one_block_stops_the_others(
    orders: worker_sweeps.Orders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = Run.save_checkpoint

    def fail(self: Run, cell_id: str, *arguments: Any) -> None:
        if cell_id == "block-0001":
            raise ZeroDivisionError
        saved(self, cell_id, *arguments)

    monkeypatch.setattr(Run, "save_checkpoint", fail)
    orders.hold(0)
    orders.hold(2)
    with pytest.raises(ZeroDivisionError):
        run_sweep(worker_sweeps.planned(), store=tmp_path, executor=Local(3))
    assert Store(tmp_path).find("latest").cells() == []


def test_a_block_that_another_sweep_holds_comes_last(alone: xr.Dataset, tmp_path: Path) -> None:
    planned = worker_sweeps.planned()
    assert planned.run_id is not None
    assert planned.spec is not None
    run = Store(tmp_path).open_run(planned.run_id, planned.spec)
    others_done = threading.Event()

    def note(event: SweepProgress) -> None:
        if event.replica_rounds_done == event.replica_rounds_total * 2 // 3 and not event.agent_steps_per_second:
            others_done.set()

    with ThreadPoolExecutor(1) as thread:
        with run.claim("block-0000"):
            sweeping = thread.submit(run_sweep, planned, store=tmp_path, executor=Local(2), on_progress=note)
            assert others_done.wait(300)
            assert run.cells() == ["block-0001", "block-0002"]
            assert not sweeping.done()
        assert_identical(sweeping.result(300), alone)
