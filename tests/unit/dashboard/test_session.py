"""Live sessions: the same numbers as the run of their spec, and nothing that people do can break them."""

from __future__ import annotations

import pathlib
import time
import tomllib
from typing import Any

import numpy as np
import pytest

from consilience.dashboard import laboratory as laboratories
from consilience.dashboard import session as sessions
from consilience.dashboard.history import History
from consilience.dashboard.laboratory import Laboratory
from consilience.dashboard.session import DIVERGED, FAILED, PAUSED, RUNNING, TAKING_UP, Session
from consilience.errors import DataError, InvalidSpec, NotEnoughMemory
from consilience.experiments import resolve_spec, run_sweep
from consilience.experiments.spec import to_toml
from consilience.simulation import Freeze, Restart, SetEdge
from consilience.simulation import ensemble as ensembles
from consilience.store import Store

SPEC: dict[str, Any] = {
    "task": {"name": "digits"},
    "partition": {"name": "by_class", "num_agents": 4},
    "graph": {"family": "complete", "num_agents": 4},
    "model": {"family": "mlp", "depth": 0},
    "algorithm": {"name": "diffusive_coupling", "learning_rate": 0.1, "coupling": 0.0},
}


def at(round: int) -> Any:
    return lambda snapshot: snapshot.round == round and snapshot.status == PAUSED


@pytest.fixture
def session() -> Any:
    made = Session(SPEC, record_every=5)
    yield made
    made.close()


def test_the_exported_spec_gives_the_same_numbers(session: Session) -> None:
    session.run(until=10)
    session.wait(at(10))
    session.set("coupling", 1.0)
    session.set("coupling", 8.0)
    session.intervene(lambda round: SetEdge(round, 0, 3, 0.0))
    session.run(until=20, pace=500)
    session.wait(at(20))
    session.intervene(lambda round: Freeze(round, 2))
    session.run(until=30)
    seen = session.wait(at(30))
    assert [round for round, _ in seen.marks] == [10, 10, 20]
    assert {"edge 0 – 3 cut", "agent 2 frozen"} < {text for _, text in seen.marks}

    replayed = run_sweep(resolve_spec(tomllib.loads(to_toml(session.as_spec())))).isel(seed=0)
    np.testing.assert_array_equal(replayed["round"], seen.rounds)
    for name, values in seen.values.items():
        np.testing.assert_array_equal(replayed[name].values, values, err_msg=name)
    np.testing.assert_array_equal(replayed["cross_accuracy"].isel(round=-1).values, seen.latest["cross_accuracy"])


def test_traffic_counts_what_is_sent(session: Session) -> None:
    """Twelve messages of 650 numbers in single precision a round; ten after the edge is cut."""
    session.run(until=5)
    session.wait(at(5))
    session.intervene(lambda round: SetEdge(round, 0, 3, 0.0))
    session.run(until=10)
    bits = session.wait(at(10)).traffic
    message = 650 * 32
    assert bits.tolist() == [0, 5 * 12 * message, 5 * 22 * message]


def test_what_cannot_be_done_is_said_and_nothing_changes(session: Session) -> None:
    session.run(until=5)
    session.wait(at(5))
    session.intervene(lambda round: SetEdge(round, 0, 9, 0.0))
    refused = session.wait(lambda snapshot: "no agent 9" in snapshot.message)
    assert (refused.status, refused.marks) == (PAUSED, ())
    session.set("coupling", 4.0)
    assert session.wait(lambda snapshot: len(snapshot.marks) == 1).message == ""


def test_a_diverged_population_can_be_restarted(session: Session) -> None:
    session.set("coupling", 1e6)
    session.run(until=10_000)
    diverged = session.wait(lambda snapshot: snapshot.status == DIVERGED)
    assert "Lower the coupling" in diverged.message
    session.set("coupling", 1.0)
    session.intervene(Restart)
    rounds = session.wait(lambda snapshot: len(snapshot.marks) == 3).round
    session.run(until=rounds + 5)
    again = session.wait(at(rounds + 5))
    assert np.isfinite(again.latest["loss"]).all()


def test_a_spec_that_cannot_run_fails_with_its_reason() -> None:
    session = Session({**SPEC, "graph": {"family": "cycle", "num_agents": 7}})
    assert "4 shards" in session.wait(lambda snapshot: snapshot.status == FAILED).message
    session.close()


def test_a_session_survives_the_server(tmp_path: pathlib.Path) -> None:
    first = Laboratory(Store(tmp_path))
    name = first.open(SPEC, record_every=5)
    first.find(name).run(until=10)
    first.find(name).wait(at(10))
    first.find(name).set("coupling", 8.0)
    first.find(name).run(until=20)
    before = first.find(name).wait(at(20))
    first.close()

    again = Laboratory(Store(tmp_path))
    after = again.find(name).wait(at(20))
    assert after.marks == before.marks
    np.testing.assert_array_equal(after.values["loss"], before.values["loss"])
    again.close()


@pytest.mark.parametrize("is_changed", [False, True])
def test_a_session_that_has_not_begun_survives_it_too(tmp_path: pathlib.Path, is_changed: bool) -> None:
    first = Laboratory(Store(tmp_path))
    name = first.open(SPEC, record_every=5)
    first.find(name).wait(lambda snapshot: snapshot.status == PAUSED)
    if is_changed:
        first.find(name).set("coupling", 8.0)
        first.find(name).wait(lambda snapshot: len(snapshot.marks) == 1)
    first.close()

    again = Laboratory(Store(tmp_path))
    after = again.find(name).wait(lambda snapshot: snapshot.status == PAUSED and len(snapshot.marks) == is_changed)
    assert after.round == 0
    again.find(name).run(until=10)
    again.find(name).wait(at(10))
    again.close()


def changed_twice(directory: pathlib.Path, num_rounds: int = 600) -> tuple[str, str]:
    """A session with a past: its id, and the file that holds it."""
    laboratory = Laboratory(Store(directory))
    name = laboratory.open(SPEC, record_every=5)
    session = laboratory.find(name)
    for round, coupling in ((20, 1.0), (400, 2.0)):
        session.run(until=round)
        session.wait(at(round))
        session.set("coupling", coupling)
        session.wait(lambda snapshot, coupling=coupling: len(snapshot.marks) == coupling)
    session.run(until=num_rounds)
    session.wait(at(num_rounds))
    laboratory.close()
    return name, (directory / "sessions" / f"{name}.toml").read_text()


def test_a_pause_while_a_session_is_taken_up_loses_nothing(tmp_path: pathlib.Path) -> None:
    name, saved = changed_twice(tmp_path)
    again = Laboratory(Store(tmp_path))
    again.find(name).wait(lambda snapshot: 0 < snapshot.round < 400)
    again.find(name).pause()
    again.find(name).wait(lambda snapshot: snapshot.status == PAUSED)
    again.close()
    assert (tmp_path / "sessions" / f"{name}.toml").read_text() == saved


def test_what_is_wanted_while_a_session_is_taken_up_is_done_then(tmp_path: pathlib.Path) -> None:
    name, _ = changed_twice(tmp_path)
    again = Laboratory(Store(tmp_path))
    session = again.find(name)
    early = session.wait(lambda snapshot: 0 < snapshot.round < 400)
    assert (early.status, "up to round 600" in early.message, early.goes_on) == (TAKING_UP, True, False)
    session.set("coupling", 7.0)
    session.run(until=620)
    after = session.wait(at(620))
    assert [one.round for one in after.interventions] == [20, 400, 600]
    assert after.message == ""
    again.close()


def test_a_session_that_is_closed_while_it_is_taken_up_loses_nothing(tmp_path: pathlib.Path) -> None:
    name, saved = changed_twice(tmp_path)
    for long in (lambda snapshot: 0 < snapshot.round < 400, lambda snapshot: 400 < snapshot.round < 600):
        again = Laboratory(Store(tmp_path))
        again.find(name).wait(long)
        again.close()
        assert (tmp_path / "sessions" / f"{name}.toml").read_text() == saved


def test_a_session_that_nobody_stops_is_saved_now_and_then(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SAVED_EVERY", 0.0)
    laboratory = Laboratory(Store(tmp_path))
    name = laboratory.open(SPEC, record_every=5)
    laboratory.find(name).run()
    path = tmp_path / "sessions" / f"{name}.toml"
    end = time.monotonic() + 60
    while time.monotonic() < end and (not path.exists() or tomllib.loads(path.read_text())["run"]["num_rounds"] < 100):
        time.sleep(0.01)
    assert laboratory.find(name).snapshot().status == RUNNING
    assert tomllib.loads(path.read_text())["run"]["num_rounds"] >= 100
    laboratory.close()


def test_a_change_that_does_not_fit_into_memory_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(SPEC, record_every=5)
    session.run(until=10)
    session.wait(at(10))

    def refuse(*_: Any, **__: Any) -> None:
        raise NotEnoughMemory("too large")

    with monkeypatch.context() as small:
        small.setattr(ensembles, "check_memory", refuse)
        for attempts in range(2):  # refused again, and not only once
            session.intervene(lambda round: SetEdge(round, 0, 1, 0.0))
            refused = session.wait(lambda snapshot: snapshot.message == "too large")
            assert (refused.status, refused.marks) == (PAUSED, ()), attempts
            session.say("")
    assert refused.stage is not None
    assert refused.stage.experiment.graph.adjacency[0, 1] == 1
    session.run(until=20)
    after = session.wait(at(20))
    session.close()
    untouched = Session(SPEC, record_every=5)
    untouched.run(until=20)
    np.testing.assert_array_equal(after.values["loss"], untouched.wait(at(20)).values["loss"])
    untouched.close()


def test_a_session_that_cannot_be_saved_says_so_and_others_are(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laboratory = Laboratory(Store(tmp_path))

    def fail(_: Any) -> str:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(laboratories, "to_toml", fail)
        first = laboratory.find(laboratory.open(SPEC))
        assert "no room" in first.wait(lambda snapshot: "saved" in snapshot.message).message
    second = laboratory.open(SPEC)
    laboratory.find(second).wait(lambda snapshot: snapshot.status == PAUSED)
    laboratory.close()
    assert (tmp_path / "sessions" / f"{second}.toml").exists()


def test_a_session_that_failed_is_tried_again_when_it_is_looked_for(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laboratory = Laboratory(Store(tmp_path))

    def offline(*_: Any, **__: Any) -> None:
        raise DataError("no network")

    with monkeypatch.context() as broken:
        broken.setattr(sessions, "resolve_spec", offline)
        name = laboratory.open(SPEC)
        assert laboratory.find(name).wait(lambda snapshot: snapshot.status == FAILED).message == "no network"
        laboratory.close()
    again = Laboratory(Store(tmp_path))
    assert again.find(name).wait(lambda snapshot: snapshot.status == PAUSED).message == ""
    again.close()


def test_a_session_has_an_end_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_ROUNDS", 20)
    session = Session(SPEC, record_every=5)
    session.run(until=1000)
    ended = session.wait(at(20))
    assert "20 rounds at most" in ended.message
    assert not ended.goes_on
    session.close()


@pytest.mark.parametrize("name", ["../../etc/passwd", "0" * 12, "", "0123456789AB", "a" * 12 + "\n"])
def test_only_sessions_can_be_found(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(DataError, match="new one"):
        Laboratory(Store(tmp_path)).find(name)


def test_a_laboratory_holds_a_few_sessions(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laboratories, "MOST_SESSIONS", 1)
    made = Laboratory(Store(tmp_path))
    first = made.open(SPEC)
    made.find(first).run(until=10)
    made.find(first).wait(at(10))
    second = made.open(SPEC)
    made.find(second).run()
    made.find(second).wait(lambda snapshot: snapshot.status == "running")
    with pytest.raises(InvalidSpec, match="Pause one"):
        made.find(first)
    made.close()


def test_the_history_spans_any_time_in_bounded_memory() -> None:
    history = History(limit=100)
    for record in range(36_000):
        history.add(10 * record, traffic=0.0, values={"loss": np.array([float(record)]), "cross_accuracy": np.eye(3)})
    assert len(history.rounds) <= 100
    assert history.rounds[0] == 0
    assert history.rounds[-1] >= 0.98 * 360_000
    assert len(set(np.diff(history.rounds))) == 1
    np.testing.assert_array_equal(history.curves["loss"][:, 0], history.rounds / 10)
