"""The store browser without a browser: what its table, runs and comparisons show, and what its address says."""

from __future__ import annotations

import io
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import panel as pn
import pytest
import xarray as xr
from panel.io.location import Location
from panel.models.tabulator import CellClickEvent

from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.dashboard.run_view import Opened
from consilience.dashboard.run_view_files import Files
from consilience.dashboard.store_comparison import Compared, incomparable
from consilience.dashboard.store_download import Download, File
from consilience.dashboard.store_loading import Loading
from consilience.dashboard.store_page import StorePage, store_page
from consilience.dashboard.store_selection import Selection
from consilience.dashboard.store_texts import message, paragraph
from consilience.errors import InvalidSpec, UnknownName
from consilience.experiments import Computation, compute, resolve_spec, run_sweep
from consilience.reports import Replicas, Summary, overlaid
from consilience.store import Store

TITLE = "digits & <img src=x onerror=alert(1)>"
SPEC = {
    "title": TITLE,
    "task": {"name": "digits", "num_train": 100, "num_test": 30},
    "partition": {"name": "by_class", "num_agents": 5},
    "model": {"family": "mlp", "depth": 0},
    "graph": {"family": "complete"},
    "algorithm": {"name": "diffusive_coupling", "learning_rate": 0.01},
    "max_replicas": 2,
    "run": {"num_rounds": 4, "average_after": 2, "batch_size": 8},
    "over": {"coupling": [0.0, 10.0], "seed": [0, 1]},
}
TWIN, UNFINISHED, DAMAGED = ("1" * 64, "2e5" + "0" * 61, "d" * 64)


@pytest.fixture(scope="module")
def store(compiled_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:  # noqa: F811
    """A sweep in two blocks, its twin, one with a block missing, a damaged one; and a computation."""
    store = Store(tmp_path_factory.mktemp("browsed") / "store")
    original = store.path / "runs" / run_sweep(resolve_spec(SPEC), store=store).run_id
    squares = xr.Dataset({"square": ("coupling", [0.0, 4.0])}, {"coupling": [0.0, 2.0]})
    compute(Computation("squares", "square", {"of": 2}, {"one": lambda: squares, "two": lambda: squares}), store=store)
    for run_id, title in ((TWIN, "the twin"), (UNFINISHED, "half of it"), (DAMAGED, "broken")):
        copy = store.path / "runs" / run_id
        shutil.copytree(original, copy)
        record = copy / "attempt-0001" / "record.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "title": title}))
    shutil.rmtree(store.find(UNFINISHED).path / "cells" / store.find(UNFINISHED).cells()[0])
    (store.path / "runs" / DAMAGED / "spec.json").write_text("{")
    return store


@pytest.fixture
def page(store: Store) -> StorePage:
    made = StorePage(store)
    made.wait()
    return made


def rows(page: StorePage) -> pd.DataFrame:
    return page.table.table.value


def table_is_shown(page: StorePage) -> bool:
    return page.table.table in page.main.select(pn.widgets.Tabulator)


def opened(page: StorePage, name: str) -> str:
    """What the page says of a run."""
    page.selection.run = name
    page.wait()
    return text(page.run.view)


def text(view: object) -> str:
    """All text in a part of the page, as HTML."""
    parts = [str(one) for name in ("object", "title", "label") if isinstance(one := getattr(view, name, None), str)]
    return "\n".join(parts + [text(child) for child in getattr(view, "objects", None) or []])


# ---- the table ---------------------------------------------------------------------------------------------------


def test_every_run_has_a_row_and_a_damaged_one_says_so(page: StorePage) -> None:
    frame = rows(page)
    assert len(frame) == 5
    assert frame.loc[DAMAGED, "kind"] == "damaged"
    assert frame.loc[UNFINISHED, "blocks"] == "1/2"
    twin = frame.loc[TWIN]
    assert twin.title == "the twin"
    assert (twin["algorithm"], twin["data set"], twin.graph) == ("DiffusiveCoupling", "digits", "complete(5)")
    assert (twin.N, twin.rounds, twin.blocks) == (5, 4, "2/2")
    assert set(frame.kind) == {"sweep", "computation", "damaged"}


def test_filters(page: StorePage) -> None:
    page.search.value = "half DIFFUSIVE"
    assert list(rows(page).index) == [UNFINISHED]
    page.search.value = "2e5"  # the beginning of an id
    assert list(rows(page).index) == [UNFINISHED]
    page.search.value, page.kind.value = "", "computation"
    assert list(rows(page).title) == ["squares"]
    page.kind.value, page.state.value = "sweep", "unfinished"
    assert list(rows(page).index) == [UNFINISHED]
    page.kind.value, page.state.value, page.order.value = "all", "all", "title"
    assert list(rows(page).title) == sorted(rows(page).title, key=str.lower)


def test_the_table_follows_the_typing_and_the_address_only_what_is_entered(page: StorePage) -> None:
    page.search.value_input = "twi"
    assert list(rows(page).index) == [TWIN]
    assert page.selection.q == ""
    page.search.value = "twin"
    assert page.selection.q == "twin"


def test_no_run_passes(page: StorePage) -> None:
    page.search.value = "nothing of the sort"
    assert "No run passes the filters" in text(page.table.view)
    assert not page.table.table.visible
    page.search.value = ""
    assert "No run passes" not in text(page.table.view)
    assert page.table.table.visible


def test_a_filter_leads_back_from_a_run_to_the_table(page: StorePage) -> None:
    opened(page, "feed")
    page.search.value = "half"
    assert not page.selection.run
    assert table_is_shown(page)
    assert not page.run.view.visible


def test_an_empty_store_says_what_fills_it(tmp_path: Path) -> None:
    page = StorePage(Store(tmp_path / "nothing"))
    page.wait()
    main = text(page.main)
    assert "The store is empty" in main
    assert "consilience reproduce figure-3 --quick" in main
    assert not table_is_shown(page)


def test_a_store_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("no directory")
    page = StorePage(Store(tmp_path))
    page.wait()
    assert "The store cannot be read" in text(page.main)


def test_refreshing_finds_new_runs(store: Store, tmp_path: Path) -> None:
    page = StorePage(Store(tmp_path))
    page.wait()
    shutil.copytree(store.path / "runs" / TWIN, tmp_path / "runs" / TWIN)
    page.refresh()
    page.wait()
    assert list(rows(page).index) == [TWIN]
    assert table_is_shown(page)


# ---- one run -----------------------------------------------------------------------------------------------------


def test_the_button_in_a_row_opens_its_run(page: StorePage) -> None:
    position = list(rows(page).index).index(TWIN)
    page.table.table._process_event(CellClickEvent(model=None, column="open", row=position))
    page.wait()
    assert page.selection.run == TWIN[:12]
    assert "<h2>the twin</h2>" in text(page.run.view)
    assert page.run.view.visible
    assert not table_is_shown(page)


def test_a_run_shows_figures_numbers_and_how_to_make_it_again(page: StorePage, store: Store) -> None:
    (name,) = [one.id for one in store.runs() if one.title == TITLE]
    shown = opened(page, name)
    assert "<h2>digits &amp; &lt;img src=x onerror=alert(1)&gt;</h2>" in shown
    assert "<img src=x" not in shown
    assert shown.count("<figure>") == 2  # accuracy and loss
    assert "alt='test accuracy against coupling" in shown
    assert "Mean over agents ± standard deviation over seeds" in shown
    assert "consilience run spec.toml" in shown
    assert "cs.experiments.resolve_spec(spec)" in shown
    assert "jaxlib" in shown
    assert name in shown


def test_an_unfinished_run_is_shown_as_far_as_it_is(page: StorePage) -> None:
    shown = opened(page, UNFINISHED)
    assert "Not finished: 1 of 2 blocks" in shown
    assert "<th scope='row'>10</th><td>2</td>" in shown  # two seeds of the second coupling


def test_a_run_without_a_finished_block_has_no_results_but_a_spec(store: Store, tmp_path: Path) -> None:
    shutil.copytree(store.path / "runs" / TWIN, tmp_path / "runs" / TWIN)
    shutil.rmtree(tmp_path / "runs" / TWIN / "attempt-0001" / "cells")
    shown = opened(StorePage(Store(tmp_path)), "latest")
    assert "no finished block" in shown
    assert "consilience run spec.toml" in shown


def test_a_damaged_run_says_why_and_nothing_else(page: StorePage) -> None:
    shown = opened(page, DAMAGED)
    assert "is damaged" in shown
    assert page.run.files is None
    assert "In Python" not in shown


def test_a_computation_is_shown_cell_by_cell(page: StorePage, store: Store) -> None:
    (name,) = [one.id for one in store.runs() if one.title == "squares"]
    shown = opened(page, name)
    assert "Cells of the computation" in shown
    assert "made in Python" in shown
    files = page.run.files
    assert files is not None
    assert files.cell is not None
    files.cell.value = "two"
    read = xr.load_dataset(io.BytesIO(files.netcdf()), engine="scipy")
    assert read.square.values.tolist() == [0.0, 4.0]


def test_files_are_read_again(store: Store) -> None:
    files = Files(store.find(TWIN))
    read = xr.load_dataset(io.BytesIO(files.netcdf()), engine="scipy")
    assert dict(read.accuracy.sizes) == {"coupling": 2, "seed": 2, "agent": 5}
    assert len(pd.read_csv(io.BytesIO(files.csv()))) == 2 * 2 * 5
    assert files.html().startswith(b"<!DOCTYPE html>")


def test_a_file_that_cannot_be_made_says_why() -> None:
    told: list[str] = []

    def refuse() -> bytes:
        raise InvalidSpec("NetCDF has no complex numbers.")

    button = Download(File("x.nc", refuse, "NetCDF", "nothing"), told.append)
    button._transfer()
    button.background.wait()
    assert told == ["NetCDF has no complex numbers."]
    assert button.data is None
    button = Download(File("x.txt", lambda: b"abc", "Text", "letters"), told.append)
    button._handle_click()
    button.background.wait()
    assert button.data == "data:text/plain;charset=UTF-8;base64,YWJj"


# ---- several -----------------------------------------------------------------------------------------------------


def test_runs_are_picked_in_the_table_and_stay_picked_behind_filters(page: StorePage) -> None:
    table = page.table
    assert table.compare.disabled
    page.search.value = "twin"
    table.table.selection = [0]
    page.search.value = "half"
    assert table.table.selection == []
    table.table.selection = [0]
    assert table.compare.label == "Compare 2 runs"
    page.search.value = ""
    assert [rows(page).index[position] for position in table.table.selection] == table.picked == [TWIN, UNFINISHED]
    table.compare.clicks += 1
    page.wait()
    assert page.selection.compare == [TWIN[:12], UNFINISHED[:12]]
    assert page.comparison.view.visible


def test_a_comparison_overlays_what_it_can_and_says_what_it_cannot(page: StorePage, store: Store) -> None:
    ids = {one.title: one.id for one in store.runs()}
    page.selection.compare = [ids[TITLE], TWIN, UNFINISHED, ids["squares"], DAMAGED, "feed"]
    page.wait()
    shown = text(page.comparison.view)
    assert shown.count("<figure>") == 2
    assert "half of it sweeps no parameter with numbers, and digits &amp; &lt;img" in shown
    assert "(N)" in shown
    assert "squares is a computation" in shown
    assert "is damaged" in shown
    assert "&#x27;feed&#x27; is not a run" in shown
    assert "≠" in shown


def replicas(parameter: str, observable: str) -> Replicas:
    ones = {observable: (parameter, [1.0, 1.0]), "outcome": (parameter, ["completed"] * 2)}
    return Replicas.of(xr.Dataset(ones, {parameter: [1.0, 2.0]}))


def test_what_cannot_be_compared_says_why() -> None:
    sweeps = {"a": Summary("a", "sweep"), "b": Summary("b", "sweep")}
    same = {"a": replicas("coupling", "loss"), "b": replicas("coupling", "loss")}
    assert incomparable(sweeps, same) == []
    (axis,) = incomparable(sweeps, same | {"b": replicas("depth", "loss")})
    assert "b sweeps depth, and a coupling" in axis
    (measured,) = incomparable(sweeps, same | {"b": replicas("coupling", "accuracy")})
    assert "b measured accuracy, and a loss" in measured


def over_rounds(observable: str, *dims: str) -> Replicas:
    sizes = {"seed": 2, "round": 3}
    values = np.ones([sizes[name] for name in ("seed", *dims)])
    dataset = xr.Dataset({observable: (("seed", *dims), values), "outcome": ("seed", ["completed"] * 2)})
    return Replicas.of(dataset.assign_coords({name: range(sizes[name]) for name in ("seed", *dims)}))


def test_runs_without_a_swept_parameter_are_compared_over_rounds() -> None:
    sweeps = {"a": Summary("a", "sweep"), "b": Summary("b", "sweep")}
    same = {"a": over_rounds("loss", "round"), "b": over_rounds("loss", "round")}
    assert incomparable(sweeps, same) == []
    assert [drawing.name for drawing in overlaid(same)] == ["loss-over-rounds"]
    assert [line.get_label() for line in overlaid(same)[0].figure.axes[0].lines] == ["a", "b"]
    averages = same | {"b": over_rounds("loss")}
    assert overlaid(averages) == []
    (rounds,) = incomparable(sweeps, averages)
    assert "b sweeps no parameter with numbers and kept no rounds" in rounds
    (measured,) = incomparable(sweeps, same | {"b": over_rounds("accuracy", "round")})
    assert "b measured accuracy, and a loss" in measured


def test_runs_that_do_not_sweep_what_the_first_one_does_are_left_out_of_all_figures() -> None:
    others = {"b": replicas("depth", "accuracy"), "c": replicas("depth", "accuracy")}
    assert overlaid({"a": replicas("coupling", "loss"), **others}) == []
    assert [drawing.name for drawing in overlaid(others)] == ["accuracy-against-depth"]


# ---- the address -------------------------------------------------------------------------------------------------


def test_the_address_says_what_is_shown_and_the_page_follows_it(page: StorePage) -> None:
    location = Location(search=f"?theme=dark&run={TWIN[:12]}")
    page.selection.follow(location)
    page.wait()
    assert "<h2>the twin</h2>" in text(page.run.view)
    page.selection.run = ""
    page.search.value = "half & twin"
    assert location.search == "?theme=dark&q=half+%26+twin"
    location.search = "?q=half&state=unfinished&kind=nonsense"
    assert (page.search.value, page.state.value, page.kind.value) == ("half", "unfinished", "all")
    assert list(rows(page).index) == [UNFINISHED]
    location.search = "?compare=feed,beef&run=feed"
    page.wait()
    assert page.run.view.visible
    assert "&#x27;feed&#x27; is not a run in the store" in text(page.run.view)
    page._go_back()
    assert location.search == "?compare=feed,beef"
    page._go_back()
    assert location.search == ""
    assert table_is_shown(page)


@pytest.mark.parametrize("name", ["12", "1e5", "true", "[1]", "{}", "2e5", "%00"])
def test_names_in_an_address_are_text(name: str) -> None:
    selection = Selection()
    selection.read(f"?run={name}&compare={name}")
    assert [selection.run] == selection.compare == [name.replace("%00", "\0")]


OUTSIDE = ("../outside", "..", ".", "/", "/etc/passwd", "runs/../../outside", "\0", "*", TWIN + "/..", "%2e", "feed")


def test_no_name_leads_out_of_the_store(store: Store, page: StorePage) -> None:
    outside = store.path.parent / "outside"
    shutil.copytree(store.path / "runs" / TWIN, outside)
    for name in (*OUTSIDE, str(outside)):
        with pytest.raises(UnknownName, match="is not a run in the store"):
            Opened.of(store, name)
        assert Compared.of(store, [name, name]).runs == []
    shown = opened(page, "../outside")
    assert "&#x27;../outside&#x27; is not a run in the store" in shown
    assert page.run.files is None


def test_the_page_is_two_parts(store: Store) -> None:
    main, sidebar = store_page(store)
    assert "Runs in the store" in text(main)
    assert "Search" in text(sidebar)


# ---- waiting -----------------------------------------------------------------------------------------------------


def test_what_was_asked_for_last_is_shown_whatever_comes_first() -> None:
    place, go = Loading(), threading.Event()
    place.show("slow", lambda: go.wait(10), lambda _: [paragraph("slow")])
    slow = place._background._thread
    assert "slow" in text(place.view)
    place.show("fast", lambda: None, lambda _: [paragraph("fast")])
    place.wait()
    go.set()
    assert slow is not None
    slow.join()
    assert "<p>fast</p>" in text(place.content)
    assert "<p>slow</p>" not in text(place.view)


def test_errors_are_told_and_never_raised() -> None:
    place = Loading()
    place.show("dividing", lambda: 1 / 0, lambda _: [])
    place.wait()
    assert "ZeroDivisionError" in text(place.content)
    place.show("drawing", lambda: 1, lambda one: [one.missing])
    place.wait()
    assert "AttributeError" in text(place.content)


def test_messages_are_text_and_no_markdown() -> None:
    assert "a_b_c *d* &lt;e&gt;" in message("a_b_c *d* <e>").object
