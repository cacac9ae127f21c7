"""One run of the store: what it is, its results, its files, and how to make it again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import panel_material_ui as pmui

from consilience.dashboard.run_view_files import Files
from consilience.dashboard.run_view_results import Results
from consilience.dashboard.store_loading import Loading
from consilience.dashboard.store_texts import code, facts, heading, message, paragraph
from consilience.experiments.spec import to_toml
from consilience.reports import Summary, command, missing, python_lines, summary, unfinished
from consilience.reports import facts as facts_of
from consilience.store import Run, Store


@dataclass(frozen=True)
class Opened:
    """A run without its results.

    Attributes:
        run: in the store.
        about: what it is.
        command: that makes it again; `None` if none does.
        python: lines that make it again.
        missing: of what it would take to make it again.
        source: the spec that it was made from, as TOML; "" if there was none.
        resolved: the spec that it is identified by, as JSON.
    """

    run: Run
    about: Summary
    command: str | None
    python: str
    missing: list[str]
    source: str
    resolved: str

    @classmethod
    def of(cls, store: Store, name: str) -> Opened:
        """Open a run.

        Args:
            store: where it is.
            name: the beginning of its id, or "latest". It is compared with the ids in the store, and is no path.

        Raises:
            UnknownName: no run, or more than one, is called so.
            StoreError: it cannot be read.
        """
        run = store.find(name)
        source = (run.record.get("source") or {}).get("spec")
        return cls(
            run=run,
            about=summary(run),
            command=command(run),
            python=python_lines(run),
            missing=missing(run),
            source="" if source is None else to_toml(source),
            resolved=json.dumps(run.spec, indent=2, ensure_ascii=False),
        )


class RunView:
    """A place on the page for one run.

    Attributes:
        view: the place.
        head: the place for what the run is.
        results: the place for its results, which are loaded after that.
        files: its downloads, once it is open.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.head, self.results = Loading(), Loading()
        self.files: Files | None = None
        self._again, self._spec = (pmui.Column(sizing_mode="stretch_width") for _ in range(2))
        self._tabs = pmui.Tabs(
            ("Results", self.results.view),
            ("Make it again", self._again),
            ("Spec", self._spec),
            sizing_mode="stretch_width",
            visible=False,
        )
        self.view = pmui.Column(self.head.view, self._tabs, sizing_mode="stretch_width", margin=0)

    def open(self, name: str) -> None:
        """Show the run whose id begins with `name`; a message if there is none."""
        self.close()
        self.head.show(f"Opening run {name[:12]} …", lambda: Opened.of(self._store, name), self._draw)

    def close(self) -> None:
        """Show nothing."""
        self.files = None
        self._tabs.param.update(visible=False, active=0)
        self.head.clear()
        self.results.clear()

    def wait(self) -> None:
        """Block until the run and its results are there."""
        self.head.wait()
        self.results.wait()

    def _draw(self, opened: Opened) -> list[Any]:
        run, about = opened.run, opened.about
        self.files = Files(run)
        self.results.show("Loading and drawing the results …", lambda: Results.of(run), Results.as_page)
        self._again[:], self._spec[:] = _again(opened), _spec(opened)
        self._tabs.visible = True
        alerts = [message(sentence, "warning") for sentence in unfinished(about)]
        return [heading(about.title), *alerts, facts(dict(facts_of(about))), self.files.view]


def _again(opened: Opened) -> list[Any]:
    parts: list[Any] = [message(sentence, "warning") for sentence in opened.missing]
    if opened.command is not None:
        whole = ", which makes the whole recipe that this run is a part of" if opened.about.recipe else ""
        parts += [paragraph(f"In a shell{whole}:"), code(opened.command, "command")]
    parts += [paragraph("In Python:"), code(opened.python, "Python lines")]
    loaded = "In a store that has the run it is loaded; --force, or force=True, computes it anew."
    return [*parts, paragraph(loaded)]


def _spec(opened: Opened) -> list[Any]:
    about = opened.about
    source = [code(opened.source, "spec")] if opened.source else []
    return [
        *source,
        paragraph("Resolved, as the run is identified; arrays by the SHA-256 of their content:"),
        code(opened.resolved, "resolved spec"),
        facts({"run": about.id, "attempt": str(opened.run.attempt), **about.versions}),
    ]
