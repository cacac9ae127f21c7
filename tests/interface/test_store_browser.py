"""The store browser in a browser: find, open, compare, download, copy; with the back button, and by the keyboard."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from consilience.experiments import Computation, compute, resolve_spec, run_sweep
from consilience.store import Store

# Bokeh warns of a message in which the browser tells it what it knows; the server runs in this process.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:reference already known")]
panel = pytest.importorskip("panel")
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SPEC = {
    "title": "digits & <b>bold</b>",
    "model": {"family": "mlp", "depth": 0},
    "run": {"num_rounds": 20, "observe_every": 10, "observe": ["accuracy", "loss", "cross_accuracy"]},
    "over": {"coupling": [0.0, 3.0, 30.0], "seed": [0, 1]},
}
OTHER = {**SPEC, "title": "digits, deeper", "model": {"family": "mlp", "depth": 1, "width": 5}}
SIZES = {"wide": (1280, 720), "narrow": (400, 800)}
PATIENCE = 60_000  # milliseconds; a loaded machine draws slowly


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("browsed") / "store")
    for spec in (SPEC, OTHER):
        run_sweep(resolve_spec(spec), store=store)
    curve = xr.Dataset({"square": ("coupling", [0.0, 4.0])}, {"coupling": [0.0, 2.0]})
    compute(Computation("squares", "square", {"of": 2}, {"one": lambda: curve}), store=store)
    return store


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    """Of the page, served from a thread."""
    from consilience.dashboard.frame import page
    from consilience.dashboard.store_page import store_page

    def app() -> Any:
        main, sidebar = store_page(store)
        return page("store", [main], [sidebar])

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = panel.serve({"store": app}, address="127.0.0.1", port=port, show=False, threaded=True, verbose=False)
    yield f"http://127.0.0.1:{port}/store"
    server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there")
    playwright.expect.set_options(timeout=PATIENCE)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A tab, with what went wrong in it as `tab.problems`: requests to other hosts among it."""
    context = chromium.new_context(viewport=dict(zip(("width", "height"), SIZES["wide"], strict=True)))
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab = context.new_page()
    tab.set_default_timeout(PATIENCE)
    tab.problems = []
    tab.on("console", lambda m: tab.problems.append(m.text) if m.type == "error" else None)
    tab.on("pageerror", lambda error: tab.problems.append(str(error)))
    tab.on("dialog", lambda dialog: tab.problems.append(f"dialog {dialog.message}"))
    tab.on(
        "request",
        lambda r: None if re.match(r"(http://127\.0\.0\.1|data:|blob:)", r.url) else tab.problems.append(r.url),
    )
    yield tab
    assert tab.problems == []
    context.close()


def button(tab: Any, name: str, **options: Any) -> Any:
    return tab.get_by_role("button", name=name, **options)


def heading(tab: Any, name: str) -> Any:
    return tab.get_by_role("heading", name=name, exact=True)


def rows(tab: Any) -> Any:
    return button(tab, "Open", exact=True)


def test_find_open_download_copy_and_go_back(tab: Any, address: str, store: Store, tmp_path: Path) -> None:
    tab.goto(address)
    playwright.expect(rows(tab)).to_have_count(3)
    # Find, while typing.
    tab.get_by_label("Search").press_sequentially("bold")
    playwright.expect(rows(tab)).to_have_count(1)
    tab.keyboard.press("Enter")
    tab.wait_for_url(re.compile(r"q=bold"))
    # Open, by the keyboard.
    rows(tab).focus()
    tab.keyboard.press("Enter")
    heading(tab, SPEC["title"]).wait_for()
    tab.wait_for_url(re.compile(r"run=[0-9a-f]{12}"))
    playwright.expect(tab.get_by_role("img", name=re.compile("test accuracy against coupling"))).to_have_count(1)
    # Download.
    (run_id,) = [one.id for one in store.runs() if one.title == SPEC["title"]]
    with tab.expect_download() as download:
        button(tab, "NetCDF: ").click()
    assert download.value.suggested_filename == f"run-{run_id[:12]}.nc"
    read = xr.load_dataset(download.value.path(), engine="scipy")
    assert dict(read.accuracy.sizes) == {"coupling": 3, "seed": 2, "round": 3, "agent": 10}
    for label, beginning in (
        ("CSV", b"coupling,seed"),
        ("Report", b"<!DOCTYPE html>"),
        ("SVG", b"<?xml"),
        ("PNG", b"\x89PNG"),
    ):
        with tab.expect_download() as download:
            button(tab, f"{label}: ").first.click()
        assert Path(download.value.path()).read_bytes().startswith(beginning), label
    # Copy.
    tab.get_by_role("tab", name="Make it again").click()
    button(tab, "Copy the Python lines").click()
    button(tab, "Copied the Python lines").wait_for()
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("import consilience as cs\n")
    assert repr(SPEC["title"]) in copied
    # Back, to the table as it was; forward, to the run; reload.
    tab.go_back()
    playwright.expect(rows(tab)).to_have_count(1)
    assert tab.get_by_label("Search").input_value() == "bold"
    tab.go_forward()
    heading(tab, SPEC["title"]).wait_for()
    tab.reload()
    heading(tab, SPEC["title"]).wait_for()


def test_compare(tab: Any, address: str) -> None:
    tab.goto(address)
    playwright.expect(rows(tab)).to_have_count(3)
    for box in range(1, 4):  # the first is that of the heading
        tab.get_by_role("checkbox").nth(box).click()
    button(tab, "Compare 3 runs").click()
    heading(tab, "Comparison").wait_for()
    tab.get_by_text("squares is a computation").wait_for()
    playwright.expect(tab.get_by_role("img", name=re.compile("test accuracy against coupling"))).to_have_count(1)
    assert tab.url.count(",") == 2
    button(tab, "All runs").click()
    playwright.expect(rows(tab)).to_have_count(3)


def test_an_address_that_leads_nowhere_says_so_and_is_no_script(tab: Any, address: str) -> None:
    tab.goto(f"{address}?run=%3Cimg src=x onerror=alert(1)%3E../../etc/passwd%00")
    tab.get_by_text("is not a run in the store").wait_for()
    button(tab, "All runs").click()
    playwright.expect(rows(tab)).to_have_count(3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits(tab: Any, address: str, store: Store, tmp_path: Path, size: str, theme: str) -> None:
    """Nothing is wider than the window; screenshots of all views are left in the test's directory."""
    width, height = SIZES[size]
    ids = [one.id[:12] for one in store.runs()]
    views = {"table": "", "run": f"?run={ids[-1]}", "comparison": f"?compare={','.join(ids)}", "unknown": "?run=feed"}
    tab.emulate_media(color_scheme=theme)
    for view, query in views.items():
        tab.set_viewport_size({"width": width, "height": height})
        tab.goto(address + query)
        awaited = {"table": rows(tab).first, "run": heading(tab, "Numbers"), "comparison": heading(tab, "Numbers"),
                   "unknown": tab.get_by_text("is not a run")}[view]  # fmt: skip
        awaited.wait_for(state="attached")
        if size == "narrow":
            tab.keyboard.press("Escape")  # the drawer with the filters
        if theme == "dark":
            button(tab, "Toggle theme").click()
        tab.wait_for_timeout(1000)
        tab.screenshot(path=tmp_path / f"{view}.png")
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width, view
