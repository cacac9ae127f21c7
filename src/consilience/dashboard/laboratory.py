"""All live sessions of a server: opened, found by their ids, kept on disk, and given up when there are too many."""

from __future__ import annotations

import re
import secrets
import threading
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from consilience.dashboard.session import FAILED, Session
from consilience.errors import DataError, InvalidSpec
from consilience.experiments.spec import to_toml
from consilience.store import Store
from consilience.store.files import replace_file

_ID = re.compile(r"[0-9a-f]{12}")
MOST_SESSIONS = 4
"""Open at a time; each holds a population and its data in memory."""


class Laboratory:
    """The sessions of a server. A session is known to pages by its id, and outlives them.

    Each one is written to `sessions/<id>.toml` in the store whenever it changes, a spec with its interventions; after a
    crash it is taken up by running that spec again, at full speed.

    Args:
        store: where sessions are kept, beside the runs.
        data_dir: where data sets are looked for first.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     laboratory = Laboratory(Store(directory))
        ...     name = laboratory.open({"model": {"family": "mlp", "depth": 0}})
        ...     session = laboratory.find(name)
        ...     laboratory.close()
        >>> len(name)
        12
    """

    def __init__(self, store: Store, *, data_dir: str | None = None) -> None:
        self.store, self.data_dir = store, data_dir
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        # Disks may take seconds, for which no population should wait: one thread writes, the newest state of each.
        self._unsaved: dict[str, Session] = {}
        self._being_saved = ""
        self._saving = threading.Condition()
        self._is_closed = False
        self._saver = threading.Thread(target=self._save_all, name="saves sessions", daemon=True)
        self._saver.start()

    def open(self, spec: Mapping[str, Any], *, record_every: int = 10) -> str:
        """Begin a session; returns its id.

        Raises:
            InvalidSpec: if as many sessions as there may be are running.
        """
        name = secrets.token_hex(6)
        with self._lock:
            self._make_room()
            self._sessions[name] = session = self._session(name, spec, record_every=record_every)
        self._remember(name, session)
        return name

    def find(self, name: str) -> Session:
        """The session of that id; one of an earlier server is taken up where it stood.

        Raises:
            DataError: if there is none, or its file is damaged.
            InvalidSpec: if as many sessions as there may be are running.
        """
        if not _ID.fullmatch(name):
            raise DataError(f"{name!r} is no id of a session: they have twelve digits 0 … f. Begin a new one.")
        with self._lock:
            if name in self._sessions and self._sessions[name].snapshot().status == FAILED:
                del self._sessions[name]  # it may succeed now
            if name not in self._sessions:
                spec = self._stored(name)
                self._make_room()
                run = spec.get("run", {})
                every, rounds = int(run.get("observe_every", 10)), int(run.get("num_rounds", 0))
                self._sessions[name] = self._session(name, spec, record_every=every, replay_to=rounds)
            self._sessions[name] = session = self._sessions.pop(name)  # the one looked at last comes last
            return session

    def look(self, name: str) -> None:
        """Somebody looks at that session now: others are closed before it."""
        with self._lock:
            if name in self._sessions:
                self._sessions[name] = self._sessions.pop(name)

    def close(self) -> None:
        """End all sessions. What they were is on disk."""
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()
        with self._saving:
            self._is_closed = True
            self._saving.notify_all()
        self._saver.join()

    def _session(self, name: str, spec: Mapping[str, Any], **options: Any) -> Session:
        return Session(spec, data_dir=self.data_dir, on_change=partial(self._remember, name), **options)

    def _remember(self, name: str, session: Session) -> None:
        """Have it saved, soon."""
        with self._saving:
            self._unsaved[name] = session
            self._saving.notify_all()

    def _save_all(self) -> None:
        while True:
            with self._saving:
                self._saving.wait_for(lambda: self._unsaved or self._is_closed)
                if not self._unsaved:
                    return
                name, session = self._unsaved.popitem()
                self._being_saved = name
            try:
                replace_file(self.store.path, self._path(name), to_toml(session.as_kept()).encode())
            except Exception as error:  # a full disk, say: no reason to stop, nor to save no other session
                session.say(f"The session goes on, but could not be saved: {error}.")
            finally:
                with self._saving:
                    self._being_saved = ""
                    self._saving.notify_all()

    def _path(self, name: str) -> Path:
        return self.store.path / "sessions" / f"{name}.toml"

    def _stored(self, name: str) -> dict[str, Any]:
        path = self._path(name)
        with self._saving:  # a session that was closed a moment ago may not have reached the disk
            self._saving.wait_for(lambda: name not in self._unsaved and name != self._being_saved)
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"There is no session {name} in this store. Begin a new one.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DataError(f"The file of session {name} cannot be read: {error}. Begin a new one.") from error

    def _make_room(self) -> None:
        """Close the session that has not been looked at for longest and does nothing."""
        if len(self._sessions) < MOST_SESSIONS:
            return
        idle = [name for name, session in self._sessions.items() if session.snapshot().is_idle]
        if not idle:
            raise InvalidSpec(
                f"{len(self._sessions)} sessions are running, as many as this server holds. Pause one of them."
            )
        self._sessions.pop(idle[0]).close()
