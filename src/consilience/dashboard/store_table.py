"""The table of all runs in a store: what is chosen of them, opened and compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import panel as pn
import panel.models.tabulator  # what the browser needs for it is served from then on
import panel_material_ui as pmui

from consilience.dashboard.store_selection import MOST_COMPARED, ORDERS
from consilience.dashboard.store_texts import html, message
from consilience.reports import Summary

_PAGE = 20
_OPEN = "open"
# Column: its least width in pixels, and how long it stays when the page grows narrow; 0 stays always.
_COLUMNS = {
    "title": (140, 0),
    "kind": (88, 2),
    "algorithm": (128, 4),
    "data set": (68, 5),
    "graph": (92, 8),
    "N": (36, 6),
    "rounds": (58, 7),
    "blocks": (54, 3),
    "updated": (118, 1),
    "MB": (50, 9),
    _OPEN: (62, 0),
}
_STYLE = """
.tabulator { font-size: 0.8rem; }
.tabulator .tabulator-row .tabulator-cell, .tabulator .tabulator-col .tabulator-col-content {
  padding: 6px 4px !important; font-size: 0.8rem; text-overflow: ellipsis; }
.tabulator .tabulator-col-title { padding-right: 0 !important; text-overflow: clip; }
.tabulator .tabulator-col[aria-sort='none'] .tabulator-col-sorter { display: none !important; }
.tabulator button { font: inherit; cursor: pointer; }
.tabulator :focus-visible { outline: 2px solid currentColor; outline-offset: 1px; }
"""

_KEYS: dict[str, Callable[[Summary], Any]] = {
    "newest": lambda one: 0,
    "title": lambda one: one.title.lower(),
    "largest": lambda one: -one.num_bytes,
}
assert tuple(_KEYS) == ORDERS


def chosen(
    summaries: Sequence[Summary], *, q: str = "", kind: str = "all", state: str = "all", order: str = "newest"
) -> list[Summary]:
    """The runs that pass the filters, in order.

    Args:
        summaries: of all runs.
        q: words, each of which the run has somewhere in what the table says of it, or its id begins with.
        kind: "sweep", "computation", "damaged" or "all".
        state: "finished", "unfinished" or "all".
        order: "newest", as `summaries` are, "title" or "largest".

    Example:
        >>> runs = [Summary("c0ffee", "sweep", title="Digits"), Summary("beef", "computation", title="Landau")]
        >>> [run.id for run in chosen(runs, q="landau")], [run.id for run in chosen(runs, q="c0f", kind="sweep")]
        (['beef'], ['c0ffee'])
    """
    words = q.lower().split()
    found = [
        one
        for one in summaries
        if kind in ("all", one.kind)
        and (state == "all" or one.is_finished == (state == "finished"))
        and all(word in _words(one) or one.id.startswith(word) for word in words)
    ]
    return sorted(found, key=_KEYS[order])


def _words(one: Summary) -> str:
    swept = " ".join(one.swept)
    return " ".join((one.title, one.kind, one.recipe, one.algorithm, one.model, one.task, one.graph, swept)).lower()


def as_frame(summaries: Sequence[Summary]) -> pd.DataFrame:
    """What the table shows, a row for each run under its id.

    Example:
        >>> frame = as_frame([Summary("c0ffee", "sweep", title="Digits", blocks_done=1, blocks_total=4)])
        >>> frame.loc["c0ffee", ["title", "blocks"]].tolist()
        ['Digits', '1/4']
    """
    rows = [
        {
            "title": one.title or one.short_id,
            "kind": one.kind,
            "algorithm": one.algorithm.partition("(")[0],
            "data set": one.task,
            "graph": one.graph,
            "N": one.num_agents or "",
            "rounds": one.num_rounds or "",
            "blocks": "" if one.problem else f"{one.blocks_done}/{one.blocks_total}",
            "updated": f"{one.updated.astimezone():%Y-%m-%d %H:%M}" if one.updated else "",
            "MB": round(one.num_bytes / 1e6, 2),
        }
        for one in summaries
    ]
    return pd.DataFrame(rows, index=[one.id for one in summaries], columns=[name for name in _COLUMNS if name != _OPEN])


class _Table(pn.widgets.Tabulator):
    """Panel's table, with columns that leave when there is no room. (Panel gives them to the wrong columns.)"""

    def _config_columns(self, column_objs: list[Any]) -> list[Any]:
        columns: list[Any] = list(super()._config_columns(column_objs))
        for column in columns:
            width, stays = _COLUMNS.get(column.get("field", ""), (40, 0))
            column |= {"minWidth": width, "widthGrow": width, "responsive": stays}
        return columns


class RunTable:
    """The table, with a button in each row that opens the run, and boxes that choose runs to compare.

    Args:
        on_open: called with the id of a run.
        on_compare: called with the ids of several.

    Attributes:
        view: the table, or what is said in its place.
        table: the table itself.
        picked: ids of the runs to compare, also of those that the filters hide.
    """

    def __init__(self, on_open: Callable[[str], None], on_compare: Callable[[list[str]], None]) -> None:
        self.picked: list[str] = []
        self._is_filling = False
        self.table = _Table(
            as_frame([]),
            disabled=True,
            show_index=False,
            selectable="checkbox",
            layout="fit_columns",
            pagination="local",
            page_size=_PAGE,
            buttons={_OPEN: "<button type='button'>Open</button>"},
            titles={_OPEN: ""},
            header_tooltips={"MB": "size on disk in megabytes", "N": "agents", "blocks": "finished blocks of all"},
            configuration={"responsiveLayout": "hide"},
            stylesheets=[_STYLE],
            sizing_mode="stretch_width",
        )
        self.compare = pmui.Button(icon="compare_arrows", variant="contained", disabled=True)
        self._hint = html(f"<p>Tick 2 to {MOST_COMPARED} runs to compare them.</p>", width=280)
        self.clear = pmui.Button(label="Choose none", variant="text")
        self._nothing = pmui.Column(sizing_mode="stretch_width", margin=0)
        self.view = pmui.Column(
            self._nothing,
            pmui.FlexBox(self.compare, self.clear, self._hint, align_items="center"),
            self.table,
            sizing_mode="stretch_width",
            margin=0,
        )
        self.table.on_click(lambda event: on_open(self.table.value.index[event.row]), column=_OPEN)
        self.table.param.watch(self._pick, "selection")
        self.compare.on_click(lambda _: on_compare(list(self.picked)))
        self.clear.on_click(self._pick_none)
        self._count()

    def show(self, summaries: Sequence[Summary], nothing: str) -> None:
        """Show these runs.

        Args:
            summaries: of the runs, in their order.
            nothing: what is said if there are none.
        """
        frame = as_frame(summaries)
        if not frame.equals(self.table.value):  # the browser makes all rows anew, and whoever is in one loses the place
            self._fill(frame)
        self.table.visible = bool(summaries)
        self._nothing[:] = [] if summaries else [message(nothing, "info")]

    def _fill(self, frame: pd.DataFrame) -> None:
        self._is_filling = True
        self.table.value = frame
        ids = list(frame.index)
        self.table.selection = [ids.index(one) for one in self.picked if one in ids]
        self._is_filling = False

    def _pick_none(self, _: object) -> None:
        self.picked = []
        self.table.selection = []
        self._count()

    def _pick(self, _: object) -> None:
        if self._is_filling:
            return
        ids = list(self.table.value.index)
        hidden = [one for one in self.picked if one not in ids]
        self.picked = hidden + [ids[position] for position in self.table.selection]
        self._count()

    def _count(self) -> None:
        count = len(self.picked)
        label = f"Compare {count} runs" if count > 1 else "Compare"
        self.compare.param.update(
            label=label if count <= MOST_COMPARED else f"Compare (at most {MOST_COMPARED} runs)",
            disabled=not 2 <= count <= MOST_COMPARED,
        )
        self.clear.visible, self._hint.visible = count > 0, count < 2
