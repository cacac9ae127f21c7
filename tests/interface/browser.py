"""A real browser and a real server, for the tests of the live laboratory."""

from __future__ import annotations

import contextlib
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESKTOP, PHONE = (1280, 720), (400, 800)


@contextlib.contextmanager
def serving(store: pathlib.Path, log: pathlib.Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`consilience serve` on a free port: the address of its first page, and the process."""
    command = [sys.executable, "-m", "consilience.cli.main", "serve", "--port", "0", "--store", str(store), *options]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield address_in(log, process), process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def address_in(log: pathlib.Path, process: subprocess.Popen[bytes], seconds: float = 120.0) -> str:
    """The address that the server has announced."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"laboratory: (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"the server has not begun: {log.read_text()}")


@contextlib.contextmanager
def a_browser() -> Iterator[Any]:
    """Chromium without a screen; the test is skipped, with the reason, where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here: install it, from Debian's packages chromium say")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def a_page(browser: Any, size: tuple[int, int] = DESKTOP, *, complaints: list[str] | None = None) -> Any:
    """A new tab; what the browser calls an error is added to `complaints`."""
    width, height = size
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(60_000)
    if complaints is not None:
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def fail(request: Any) -> None:
            if request.failure != "net::ERR_ABORTED":  # what is under way when the page is left
                complaints.append(f"failed: {request.url}, {request.failure}")

        page.on("requestfailed", fail)
    return page


def overflow(page: Any) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
