"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# Most programs of the tests run for milliseconds, once: compiling them is most of the work. Without XLA's own emitters
# of fused loops, and in one piece, it takes half of the time. Slow tests ask for all optimisations, and get them.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    quickly = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    given = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = given if quickly in given else f"{quickly} {given}"  # workers inherit it

# Small matrices only, on machines whose workers share the processors: threads of BLAS would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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
