"""A peer's process, as the driver sees it: commands, answers with a time limit, memory."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class PeerFailed(Exception):
    """A peer that ended or did not answer; the message says which, and what it said last."""


class Process:
    """An adapter's process and those that it starts, in a process group of their own.

    Args:
        python: interpreter of its environment.
        adapter: file name of the script.
        directory: holds `problem.npz`.
        arguments: further ones of the script.
        log: where its standard error goes.
    """

    def __init__(self, python: Path, adapter: str, directory: Path, arguments: tuple[str, ...], log: Path) -> None:
        self.log = log
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [python, HERE / adapter, directory, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )

    def answer(self, seconds: float) -> dict[str, Any]:
        """The next answer.

        Raises:
            PeerFailed: none came within that time, or the process ended.
        """
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            raise PeerFailed(f"no answer within {seconds:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            raise PeerFailed(f"ended: {self._last_words()}")
        return json.loads(line)

    def _last_words(self) -> str:
        """The error that the process ended with, or else its last line."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
        return (errors or lines or ["without a message"])[-1].strip()

    def ask(self, seconds: float, **command: Any) -> dict[str, Any]:
        """The answer to one command."""
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        with suppress(BrokenPipeError):  # `answer` finds out why
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
        try:
            return self.answer(seconds)
        finally:  # threads that wait for work must not take time from the next peer
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def peak_megabytes(self) -> float:
        """Peak resident memory of the process; of several together, what they hold now, shared pages counted once."""
        members = [pid for pid in _processes() if _group(pid) == self.process.pid]
        if len(members) == 1:
            return _kilobytes(Path(f"/proc/{members[0]}/status"), "VmHWM:") / 1024
        return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in members) / 1024

    def close(self) -> None:
        """End the process, kindly first."""
        assert self.process.stdin is not None
        self._signal(signal.SIGCONT)
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self.process.stdin.close()
            self.process.wait(timeout=10)
        self._signal(signal.SIGKILL)
        self.process.wait()


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _kilobytes(file: Path, name: str) -> float:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return float("nan")
    return next((float(line.split()[1]) for line in lines if line.startswith(name)), float("nan"))
