"""What the live laboratory costs: the page beside the simulation, how soon a choice acts, how soon the page is there.

    python benchmarks/live_laboratory.py

Ten agents on digits, D = 1, "as fast as it goes". The same session runs alone, and with a page that looks at it four
times a second, alternating in one process; the ratio of their rounds per second is the page's cost to the simulation.
Without a browser: what the server does for a page is counted, and not what the browser draws. With --browser, a real
one (Chromium) opens the page: time to the first view, and from keys on the coupling's slider to
their effect on the page.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from throughput import processor

HERE = Path(__file__).resolve().parent
REFRESH = 0.25
FIGURES = 7


def rate(page: Any, session: Any, seconds: float, *, watched: bool) -> float:
    """Rounds per second of a running session, with or without a page that looks at it."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(REFRESH):
            page.refresh()

    watcher = threading.Thread(target=look)
    if watched:
        watcher.start()
    begun, start = session.snapshot().round, time.perf_counter()
    time.sleep(seconds)
    taken, done = time.perf_counter() - start, session.snapshot().round - begun
    stop.set()
    if watched:
        watcher.join()
    return done / taken


def cost_of_the_page(repeats: int, seconds: float) -> tuple[list[float], float]:
    """Rates of alternating intervals, watched over alone; and the rate alone."""
    from consilience.dashboard.laboratory import Laboratory
    from consilience.dashboard.live_page import LivePage
    from consilience.store import Store

    with tempfile.TemporaryDirectory() as folder:
        laboratory = Laboratory(Store(folder))
        page = LivePage(laboratory, {}, lambda _: None)
        page.main()
        page.sidebar()
        page.open()
        session = page._session
        assert session is not None
        session.wait(lambda snapshot: snapshot.status == "paused")
        page.refresh()
        session.run()
        rate(page, session, seconds, watched=True)
        ratios, alone = [], []
        for _ in range(repeats):
            alone.append(rate(page, session, seconds, watched=False))
            ratios.append(rate(page, session, seconds, watched=True) / alone[-1])
        laboratory.close()
    return ratios, statistics.median(alone)


def memory_over_time(rounds: int) -> tuple[float, float]:
    """Megabytes of the process after a tenth and at the end of a long session."""
    from consilience.dashboard.session import Session

    def megabytes() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    session = Session({}, record_every=10)
    session.run(until=rounds)
    session.wait(lambda snapshot: snapshot.round >= rounds // 10, seconds=1e6)
    early = megabytes()
    session.wait(lambda snapshot: snapshot.round >= rounds, seconds=1e6)
    session.close()
    return early, megabytes()


def in_a_browser(chromium: str, repeats: int) -> dict[str, list[float]]:
    """Seconds to the first view, to its figures, until a new population is compiled, and from keys to their effect."""
    import subprocess
    import sys

    from playwright.sync_api import sync_playwright

    seconds: dict[str, list[float]] = {
        "to the first view: buttons, choices, tabs": [],
        "until the seven figures are drawn": [],
        "until a new population is compiled and can run": [],
        "from ten keys on the slider to its effect on the page": [],
    }
    views, figures, ready, answers = seconds.values()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-u", "-m", "consilience.cli.main", "serve", "--port", "0", "--store", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            page = browser.new_context(viewport={"width": 1280, "height": 720}).new_page()
            start = time.perf_counter()
            page.goto(address)
            page.get_by_role("tab", name="Experiment").wait_for()
            views.append(time.perf_counter() - start)
            while page.locator("canvas").count() < FIGURES:
                page.wait_for_timeout(20)
            figures.append(time.perf_counter() - start)
            page.get_by_role("slider").first.wait_for()
            ready.append(time.perf_counter() - start)
            page.get_by_text("paused · ").wait_for()
            page.wait_for_url("**session=*")
            page.get_by_role("button", name="Run").click()
            page.get_by_text("running · ").wait_for()
            page.get_by_role("tab", name="Record and export").click()
            page.wait_for_timeout(1500)
            slider = page.get_by_role("slider").first
            slider.focus()
            start = time.perf_counter()
            for _ in range(10):
                page.keyboard.press("ArrowRight")
            page.get_by_text("coupling →").first.wait_for()
            answers.append(time.perf_counter() - start)
            page.get_by_role("button", name="Pause").click()
            page.get_by_text("paused · ").wait_for()
            page.context.close()
        browser.close()
        server.terminate()
    return seconds


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} – {max(values):.2f}, {len(values)} times)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=100_000, help="of the long session")
    parser.add_argument("--browser", default=None, help="path of Chromium")
    arguments = parser.parse_args()
    ratios, alone = cost_of_the_page(arguments.repeats, arguments.seconds)
    early, late = memory_over_time(arguments.rounds)
    lines = [
        "| what | measured |",
        "|---|---|",
        f"| rounds per second with a page, over those without | {spread(ratios)} |",
        f"| rounds per second without, ten agents | {alone:,.0f} |",
        f"| peak memory after {arguments.rounds // 10:,} and {arguments.rounds:,} rounds, in MB | "
        f"{early:.0f} and {late:.0f} |",
    ]
    if arguments.browser:
        measured = in_a_browser(arguments.browser, arguments.repeats)
        lines += [f"| seconds {what} | {spread(values)} |" for what, values in measured.items()]
    report = [
        "# The live laboratory",
        "",
        f"{datetime.date.today()}, {processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; "
        "medians and ranges.",
        "",
        *lines,
        "",
        "Made by `python benchmarks/live_laboratory.py --browser /usr/bin/chromium`.",
    ]
    print("\n".join(lines))
    (HERE / "reports" / "live_laboratory.md").write_text("\n".join(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
