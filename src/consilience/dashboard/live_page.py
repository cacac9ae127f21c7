"""The live experiment: choose a population, let it run, change it, and watch it become collective."""

from __future__ import annotations

import html
import io
from typing import Any

import numpy as np
import panel as pn
import panel_material_ui as pmui

from consilience.dashboard.actions import Actions, Make
from consilience.dashboard.experiment_view import ExperimentView
from consilience.dashboard.figures.agents import COLOURINGS
from consilience.dashboard.form import Form
from consilience.dashboard.laboratory import Laboratory
from consilience.dashboard.records import as_dataset
from consilience.dashboard.session import DIVERGED, FAILED, PREPARING, RUNNING, TAKING_UP, Session, Snapshot
from consilience.dashboard.settings import Settings, from_query, to_query
from consilience.dashboard.sliders import ParameterSlider, coupling_limit, parameters
from consilience.dashboard.theory import TheoryView
from consilience.dashboard.uploads import keep
from consilience.errors import ConsilienceError
from consilience.experiments.spec import to_toml
from consilience.reports import to_netcdf_bytes

REFRESH = 250
"""Milliseconds between two looks at the session."""
PACES = {"50 rounds/s": 50.0, "200 rounds/s": 200.0, "1,000 rounds/s": 1000.0, "as fast as it goes": 0.0}


class LivePage:
    """One browser tab's view of a session. The session itself belongs to the laboratory, and goes on without the tab.

    Args:
        laboratory: where sessions are.
        query: the address's parameters; `session` names the one to show, others describe a new one.
        on_address: called with what the address is to say.
    """

    def __init__(self, laboratory: Laboratory, query: dict[str, str], on_address: Any) -> None:
        self._laboratory, self._on_address = laboratory, on_address
        self._session: Session | None = None
        self._name = ""
        self._problem = ""
        self._experiment: ExperimentView | None = None
        self._theory: TheoryView | None = None
        self._sliders: dict[str, ParameterSlider] = {}
        self._make_widgets()
        self._make_tabs()
        self._form = Form(Settings(), on_upload=self._keep_upload)
        self._asked = query.get("session")
        try:
            self._form = Form(from_query(query), on_upload=self._keep_upload)
        except ConsilienceError as error:
            self._problem = str(error)
        self.refresh()

    def open(self) -> None:
        """Show the session that the address names, or begin one; to be called once the page is there to show it.

        The figures are made then, too: buttons and sliders need not wait for them.
        """
        self._show_view(self._tabs.active)
        if self._problem:
            return
        asked = self._asked
        self._try(self._begin if asked is None else lambda: self._attach(asked))

    # ---- parts -------------------------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self._run = pmui.Button(label="Run", icon="play_arrow", color="primary", size="small", margin=(4, 4))
        self._step = pmui.Button(label="Step", icon="skip_next", variant="outlined", size="small", margin=(4, 4))
        self._pace = pmui.Select(
            label="Speed",
            options=PACES,
            value=PACES["200 rounds/s"],
            size="small",
            width=170,
            margin=(10, 4, 4, 4),
        )
        self._new = pmui.Button(
            label="New population", icon="add", color="primary", variant="outlined", sizing_mode="stretch_width"
        )
        self._status = pmui.Typography("", variant="body2", margin=(10, 8))
        self._alert = pmui.Alert(severity="warning", visible=False, sizing_mode="stretch_width", margin=(4, 8))
        self._colouring = pmui.Select(
            label="Colour agents by", options=list(COLOURINGS), value=COLOURINGS[0], size="small", width=170,
            margin=(10, 4, 4, 4),
        )  # fmt: skip
        self._actions = Actions(self._intervene)
        self._slider_box = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._spec = pmui.FileDownload(
            callback=self._exported, filename="session.toml", label="Export as spec", size="small", variant="outlined",
            margin=(4, 8),
        )  # fmt: skip
        self._records = pmui.FileDownload(
            callback=self._recorded, filename="session.nc", label="Records as NetCDF", size="small",
            variant="outlined", margin=(4, 8),
        )  # fmt: skip
        self._log = pn.pane.Markdown("", sizing_mode="stretch_width", margin=(0, 8))
        self._run.on_click(lambda _: self._toggle())
        self._step.on_click(lambda _: self._advance_once())
        self._new.on_click(lambda _: self._try(self._begin))
        self._pace.param.watch(lambda _: self._repace(), "value")
        self._colouring.param.watch(lambda event: self._colour_by(event.new), "value")

    def _make_tabs(self) -> None:
        # A view is made when it is first chosen, and then only hidden: figures do not like to be taken out again.
        self._makers = {
            "Experiment": self._make_experiment,
            "Theory": self._make_theory,
            "Record and export": lambda: pmui.Column(
                pmui.FlexBox(self._spec, self._records), self._log, sizing_mode="stretch_width"
            ),
        }
        self._views: dict[str, Any] = {}
        self._shown = pmui.Column(sizing_mode="stretch_width", margin=0)
        headings = [(name, pn.Spacer(height=0)) for name in self._makers]
        self._tabs = pmui.Tabs(*headings, sizing_mode="stretch_width", margin=0)
        self._tabs.param.watch(lambda event: self._show_view(event.new), "active")

    def _make_experiment(self) -> Any:
        self._experiment = ExperimentView(self._colouring.value)
        return self._experiment.panel()

    def _make_theory(self) -> Any:
        self._theory = TheoryView()
        return self._theory.panel()

    def _show_view(self, chosen: int) -> None:
        name = list(self._makers)[chosen if 0 <= chosen < len(self._makers) else 0]
        if name not in self._views:
            self._views[name] = self._makers[name]()
            self._shown.append(self._views[name])
        for each, view in self._views.items():
            view.visible = each == name

    def main(self) -> list[Any]:
        """What is shown."""
        buttons = pmui.FlexBox(
            self._run, self._step, self._pace, self._colouring, self._status, align_items="center", margin=0
        )
        return [pmui.Column(self._alert, buttons, self._tabs, self._shown, sizing_mode="stretch_width", margin=0)]

    def sidebar(self) -> list[Any]:
        """What is chosen."""
        return [
            pmui.Typography("Change it while it runs", variant="subtitle2", margin=(8, 8, 0, 8)),
            self._slider_box,
            self._actions.panel(),
            pmui.Divider(sizing_mode="stretch_width"),
            pmui.Typography("A new population", variant="subtitle2", margin=(8, 8, 0, 8)),
            self._form.panel(),
            self._new,
        ]

    def close(self) -> None:
        """Stop what is computed for this tab alone. The session goes on."""
        if self._theory is not None:
            self._theory.close()

    @property
    def tabs(self) -> Any:
        """The tabs, whose number the address keeps."""
        return self._tabs

    # ---- what people do ----------------------------------------------------------------------------------------

    def _try(self, action: Any) -> None:
        try:
            self._problem = ""
            action()
        except ConsilienceError as error:
            self._problem = str(error)
        self.refresh()

    def _begin(self) -> None:
        settings = self._form.read()
        self._attach(self._laboratory.open(settings.to_spec(self._laboratory.store)))
        self._on_address({**to_query(settings)})

    def _attach(self, name: str) -> None:
        self._session, self._name = self._laboratory.find(name), name
        self._on_address({"session": name})
        self._sliders = {}

    def _toggle(self) -> None:
        if self._session is None:
            return
        if self._session.snapshot().goes_on:
            self._session.pause()
        else:
            self._session.run(pace=self._pace.value)
        self.refresh()

    def _advance_once(self) -> None:
        if self._session is not None:
            until = self._session.snapshot().round + self._session.record_every
            self._session.run(until=until, pace=self._pace.value)

    def _repace(self) -> None:
        if self._session is not None and self._session.snapshot().goes_on:
            self._session.run(pace=self._pace.value)

    def _intervene(self, make: Make) -> None:
        if self._session is not None:
            self._try(lambda: self._session.intervene(make))  # pyright: ignore[reportOptionalMemberAccess]

    def _colour_by(self, colouring: str) -> None:
        if self._experiment is not None:
            self._experiment.colour_by(colouring)

    def _choose(self, name: str, value: float) -> None:
        if self._session is not None:
            self._session.set(name, value)

    def _keep_upload(self, filename: str, content: bytes) -> str:
        try:
            name, self._problem = keep(self._laboratory.store, filename, content), ""
        except ConsilienceError as error:
            name, self._problem = "", str(error)
        self.refresh()
        return name

    def _exported(self) -> io.BytesIO:
        return io.BytesIO(b"" if self._session is None else to_toml(self._session.as_spec()).encode())

    def _recorded(self) -> io.BytesIO:
        return io.BytesIO(b"" if self._session is None else to_netcdf_bytes(as_dataset(self._session.snapshot())))

    # ---- what people see ---------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the session as it is now; cheap if nothing has changed."""
        if self._session is None:
            self._show_message("", self._problem)
            return
        self._laboratory.look(self._name)
        snapshot = self._session.snapshot()
        label, icon = ("Pause", "pause") if snapshot.goes_on else ("Run", "play_arrow")
        if self._run.label != label:
            self._run.param.update(label=label, icon=icon)
        self._run.disabled = self._step.disabled = snapshot.status in (PREPARING, FAILED, DIVERGED)
        if snapshot.goes_on and snapshot.pace != self._pace.value and snapshot.pace in PACES.values():
            self._pace.value = snapshot.pace  # another tab's choice
        self._show_message(_status(snapshot), self._problem or _problem(snapshot))
        self._show_sliders(snapshot)
        self._actions.update(snapshot)
        for name, view in (("Experiment", self._experiment), ("Theory", self._theory)):
            if view is not None and self._views[name].visible:  # what nobody looks at costs nothing
                view.update(snapshot)
        self._show_log(snapshot)

    def _show_message(self, status: str, problem: str) -> None:
        if self._status.object != status:
            self._status.object = status
        text = f"<div>{html.escape(problem)}</div>" if problem else ""  # a division is not read as Markdown
        if (self._alert.object or "") != text:
            self._alert.param.update(object=text, visible=bool(problem))

    def _show_sliders(self, snapshot: Snapshot) -> None:
        if snapshot.stage is None:
            return
        algorithm = snapshot.stage.algorithms[0]
        names = parameters(algorithm)
        if list(self._sliders) != names:
            self._sliders = {
                name: ParameterSlider(name, on_choice=lambda value, name=name: self._choose(name, value))
                for name in names
            }
        limit = coupling_limit(snapshot.stage)
        for name, slider in self._sliders.items():
            slider.show(float(getattr(algorithm, name)), limit=limit if name == "coupling" else None)
        widgets = [slider.widget for slider in self._sliders.values()]
        if self._slider_box.objects != widgets:  # once they are complete
            self._slider_box.objects = widgets

    def _show_log(self, snapshot: Snapshot) -> None:
        rows = "\n".join(f"| {round:,} | {text} |" for round, text in snapshot.marks)
        text = _HOW_TO_REPLAY + (f"\n\n| round | intervention |\n|---:|---|\n{rows}" if rows else "")
        if self._log.object != text:
            self._log.object = text


_HOW_TO_REPLAY = (
    "Everything done to this population is recorded, with the round in which it was done. The exported spec holds it, "
    "and gives the same numbers to the last bit: `consilience run session.toml`."
)


def _status(snapshot: Snapshot) -> str:
    words = [snapshot.status, f"round {snapshot.round:,}"]
    if snapshot.status in (RUNNING, TAKING_UP):
        words.append(f"{snapshot.rounds_per_second:,.0f} rounds/s")
    if "accuracy" in snapshot.latest and np.isfinite(snapshot.latest["accuracy"]).all():
        words.append(f"mean accuracy {snapshot.latest['accuracy'].mean():.3f}")
    return " · ".join(words)


def _problem(snapshot: Snapshot) -> str:
    """What the session has to say, or what theory expects to go wrong."""
    if snapshot.status == PREPARING or snapshot.stage is None:
        return "" if snapshot.status == PREPARING else snapshot.message
    experiment, algorithm = snapshot.stage.experiment, snapshot.stage.algorithms[0]
    return snapshot.message or " ".join(algorithm.warnings(experiment.graph, experiment.mixing))
