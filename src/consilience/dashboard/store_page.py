"""The store browser: the table of all runs, one run, or a comparison, as the address says."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import panel as pn
import panel_material_ui as pmui

from consilience.dashboard.run_view import RunView
from consilience.dashboard.store_comparison import ComparisonView
from consilience.dashboard.store_loading import Loading
from consilience.dashboard.store_selection import KINDS, ORDERS, STATES, Selection
from consilience.dashboard.store_table import RunTable, chosen
from consilience.dashboard.store_texts import code, facts, heading, message
from consilience.reports import Summary, summaries
from consilience.store import Store

_EMPTY = (
    "The store is empty. Run this, then press Refresh. Sessions of the live laboratory do not appear here by "
    "themselves: export one as a spec there, and run that (consilience run session.toml)."
)
_TO_FILL = "consilience reproduce figure-3 --quick"
_FILTERED = "No run passes the filters. Remove a word of the search, or choose all kinds and states."
_SEARCHED = (
    "Words that a run must have: in its title, recipe, method, network, data set, graph, or as its id's beginning."
)
_KINDS = "Sweeps are simulations; computations are theory and analyses; damaged runs cannot be read."


def store_page(store: Store) -> tuple[pmui.Column, pmui.Column]:
    """The store browser as the two parts of a page.

    Args:
        store: whose runs are shown; nothing else is read.

    Returns:
        What is in the middle, and what is beside it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     main, sidebar = store_page(Store(directory))
        >>> [part.label for part in sidebar if hasattr(part, "label")]
        ['Search', 'Kind', 'State', 'Order', 'Refresh']
    """
    page = StorePage(store)
    return page.main, page.sidebar


class StorePage:
    """The store browser, part by part.

    Args:
        store: whose runs are shown; nothing else is read.

    Attributes:
        main, sidebar: the two parts of the page.
        selection: what is shown.
        table, run, comparison: the three things that `main` shows, one at a time.
        search, kind, state, order: the filters, and what comes first.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._summaries: Sequence[Summary] = []
        self._is_read = False
        self.selection = Selection()
        if pn.state.location is not None:
            self.selection.follow(pn.state.location)
        self.table = RunTable(self._open, self._compare)
        self.run, self.comparison = RunView(store), ComparisonView(store)
        self._list = Loading()
        self._back = pmui.Button(icon="arrow_back", variant="text", on_click=self._go_back)
        self._title = heading("Runs in the store")
        self._rows = pmui.Column(sizing_mode="stretch_width", margin=0)
        self._empty = pmui.Column(message(_EMPTY, "info"), code(_TO_FILL, "command"), sizing_mode="stretch_width")
        self._about = pmui.Column(sizing_mode="stretch_width", margin=0)
        self.search = pmui.TextInput(label="Search", placeholder="title, method, data set, id", description=_SEARCHED)
        self.kind = pmui.Select(label="Kind", options=list(KINDS), description=_KINDS)
        self.state = pmui.Select(label="State", options=list(STATES), description="Whether all blocks are there.")
        self.order = pmui.Select(label="Order", options=list(ORDERS))
        self._filters = {"q": self.search, "kind": self.kind, "state": self.state, "order": self.order}
        refresh = pmui.Button(label="Refresh", icon="refresh", variant="outlined", on_click=lambda _: self.refresh())
        self.main = pmui.Column(
            self._back, self._title, self._list.view, self._empty, self._rows, self.run.view,
            self.comparison.view, sizing_mode="stretch_width",
        )  # fmt: skip
        self.sidebar = pmui.Column(
            *self._filters.values(), refresh, self._about, sizing_mode="stretch_width"
        )  # fmt: skip
        self._adopt_filters()
        self._connect()
        pn.state.onload(self._begin)

    def refresh(self) -> None:
        """Read again what runs there are."""
        self._list.show("Reading the store …", lambda: summaries(self._store), self._listed)

    def wait(self) -> None:
        """Block until all that is shown is loaded."""
        for part in (self._list, self.run, self.comparison):
            part.wait()

    # ---- from people to the selection ----------------------------------------------------------------------------

    def _connect(self) -> None:
        for name, widget in self._filters.items():
            widget.param.watch(functools.partial(self._take_filter, name), "value")
        self.search.param.watch(self._fill, "value_input")  # while it is typed
        self.selection.param.watch(self._show, ["run", "compare"])
        self.selection.param.watch(self._adopt_filters, ["q", "kind", "state", "order"])

    def _open(self, run_id: str) -> None:
        self.selection.run = run_id[:12]

    def _compare(self, run_ids: list[str]) -> None:
        self.selection.compare = [run_id[:12] for run_id in run_ids]

    def _take_filter(self, name: str, event: Any) -> None:
        if event.new != getattr(self.selection, name):
            self.selection.param.update({"run": "", "compare": [], name: event.new})

    def _go_back(self, *_: Any) -> None:
        self.selection.param.update({"run": ""} if self.selection.run else {"compare": []})

    # ---- from the selection to the page --------------------------------------------------------------------------

    def _adopt_filters(self, *_: Any) -> None:
        for name, widget in self._filters.items():
            widget.value = getattr(self.selection, name)
        self.search.value_input = self.selection.q
        self._fill()

    def _show(self, *_: Any) -> None:
        selection = self.selection
        shown = self.run if selection.run else self.comparison if selection.compare else None
        for view in (self.run, self.comparison):
            if view is not shown:
                view.close()
        if shown is self.run:
            self.run.open(selection.run)
        elif shown is self.comparison:
            self.comparison.open(selection.compare)
        self._back.label = "Back to the comparison" if selection.run and selection.compare else "All runs"
        self._back.visible = shown is not None
        self.run.view.visible, self.comparison.view.visible = shown is self.run, shown is self.comparison
        self._show_list()

    def _show_list(self) -> None:
        is_shown = not self.selection.run and not self.selection.compare
        self._title.visible = self._list.view.visible = is_shown
        # Put there when it is to be seen, for the browser makes no rows of a table that is hidden.
        wanted = [self.table.view] if is_shown and self._summaries else []
        if list(self._rows) != wanted:
            self._rows[:] = wanted
        self._empty.visible = is_shown and self._is_read and not self._summaries

    def _begin(self) -> None:
        self._show()
        self.refresh()

    def _listed(self, found: Sequence[Summary]) -> list[Any]:
        self._summaries, self._is_read = found, True
        size = sum(one.num_bytes for one in found) / 1e6
        self._about[:] = [facts({"runs": str(len(found)), "size": f"{size:.2f} MB", "store": str(self._store.path)})]
        self._fill()
        self._show_list()
        return []

    def _fill(self, *_: Any) -> None:
        words, now = self.search.value_input or "", self.selection
        passing = chosen(self._summaries, q=words, kind=now.kind, state=now.state, order=now.order)
        self.table.show(passing, _FILTERED)
