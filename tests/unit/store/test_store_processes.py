"""Killed, racing and starved processes on one store."""

import json
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest

from consilience.store import Store

WORKERS = pathlib.Path(__file__).with_name("store_workers.py")
COMMAND = [sys.executable, "-W", "error", str(WORKERS)]


def run_worker(name: str, directory: pathlib.Path, *prefix: str) -> dict[str, Any]:
    done = subprocess.run([*prefix, *COMMAND, name, str(directory)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kill_at_random_moments_leaves_whole_cells_or_none(tmp_path: pathlib.Path) -> None:
    result = run_worker("kill", tmp_path)
    assert result["cells"] > 6  # how many were killed in the middle of writing is chance; the next test schedules it


def test_death_at_every_step_leaves_a_whole_cell_or_none(tmp_path: pathlib.Path) -> None:
    result = run_worker("crash", tmp_path)
    appeared = result["appeared"]
    # 8 files and 8 directories reach the disk before the cell appears; then the parent directory is synchronised.
    assert len(appeared) > 16
    assert appeared == sorted(appeared)
    assert appeared[-2:] == [True, True]
    assert not appeared[-4]
    assert result["leftovers"] > 16


def test_processes_on_one_store_do_no_harm(tmp_path: pathlib.Path) -> None:
    result = run_worker("together", tmp_path)
    eight = [f"cell-{number}" for number in range(8)]
    assert result["codes"] == [[0] * 4] * 3
    assert result["saved"] == eight  # each by one process of four
    assert result["computed"] == eight
    assert result["wall_seconds"] == 4 * 8
    assert result["cells"] == 16
    assert [len(cells) for cells in result["attempts"]] == [1] * 4
    # One process each set a damaged cell aside, said so, and left it to be computed again.
    assert result["damage"] == {"codes": [0] * 4, "aside": eight, "warned": eight}
    assert result["leftovers"] == 0


def test_a_claim_ends_with_its_process(tmp_path: pathlib.Path) -> None:
    run = Store(tmp_path).open_run("0" * 64, {})
    with subprocess.Popen([*COMMAND, "hold", str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with run.try_claim("a") as held:
                assert not held
        finally:
            process.kill()
        start = time.monotonic()
        with run.claim("a"):
            assert time.monotonic() - start < 60  # the process would have held it for ten minutes


def test_a_full_disk_and_a_read_only_one_are_errors_that_lose_nothing(tmp_path: pathlib.Path) -> None:
    namespace = ["unshare", "--mount", "--map-root-user"]
    probe = [*namespace, "mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True).returncode:
        pytest.skip("needs a private mount namespace (unshare), to mount a small file system")
    result = run_worker("small_disk", tmp_path, *namespace)
    assert result["full"]["cells"] >= 2
    assert result["full"]["leftovers"] == 0
    assert result["full"]["checkpoint"]
    codes, messages = zip(*result["messages"], strict=True)
    assert codes == ("ENOSPC", "ENOSPC", "EROFS", "EROFS", "EROFS", "EROFS")
    for message, beginning in zip(
        messages,
        [
            f"Cell 'cell-{result['full']['cells']}' of run 000000000000 was not saved: no space left on device",
            "The checkpoint of cell 'checkpoint' of run 000000000000 was not saved: no space left on device",
            "Cell 'new' of run 000000000000 was not saved: read-only file system",
            "The record of run 000000000000 was not saved: read-only file system",
            "Cell 'a' of run 000000000000 cannot be claimed: read-only file system",
            "Run 111111111111 was not opened: read-only file system",
        ],
        strict=True,
    ):
        assert message.startswith(beginning)
        assert "finished before are intact" in message
        assert "\n" not in message
    (warned,) = result["warned"]
    assert warned.endswith("/cells/cell-0.")  # it stays where it is, for it cannot be moved
