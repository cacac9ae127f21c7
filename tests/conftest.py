"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Most programs of the tests run for milliseconds, once: compiling them is most of the work.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# A shell that starts the tests in the background lets them ignore Ctrl-C, and what they start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The directory of the image data sets; a test that needs one is skipped where there is none."""
    for place in (os.environ.get("CONSILIENCE_DATA"), SHARED_DATA):
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip(f"no image data sets: CONSILIENCE_DATA names no directory, and {SHARED_DATA} is none")
