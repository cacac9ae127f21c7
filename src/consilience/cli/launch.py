"""`consilience launch`: a script in several processes among which populations are shared out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from consilience.cli.application import app
from consilience.cli.console import messages
from consilience.errors import InvalidSpec


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def launch(
    script: Annotated[Path, typer.Argument(help="A Python script that calls cs.simulate.", metavar="SCRIPT")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Its arguments.", metavar="[ARGUMENT]...")] = None,
    processes: Annotated[int, typer.Option("--processes", "-n", min=1, help="How many there are, on all hosts.")] = 2,
    coordinator: Annotated[
        str | None, typer.Option("--coordinator", help="Host and port of process 0, for several hosts.")
    ] = None,
    process: Annotated[
        int | None, typer.Option("--process", min=0, help="Start only this one of them, on this host.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of each process; the machine's, shared out evenly.")
    ] = None,
) -> None:
    """Run a script in several processes: its populations are shared out among them.

    On one machine:   consilience launch -n 4 population.py

    On four hosts, on each with its number:   consilience launch -n 4 --coordinator host0:7000 --process 0 population.py

    What the first process prints is shown, and the errors of all.
    """
    if not script.is_file():
        raise InvalidSpec(f"There is no script {script}. Give the path of a Python file that calls cs.simulate.")
    if (coordinator is None) != (process is None):
        raise InvalidSpec(
            "--coordinator and --process go together: without them all processes are started on this machine. Write "
            "--coordinator HOST:PORT --process 0 on the first host, --process 1 on the second, and so on."
        )
    if process is not None and process >= processes:
        raise InvalidSpec(f"--process {process} of {processes}: processes are counted from 0 to {processes - 1}.")
    here = [process] if process is not None else list(range(processes))
    threads = threads or max(1, (os.cpu_count() or 1) // len(here))
    address = coordinator or f"127.0.0.1:{_free_port()}"
    started = [_start(script, arguments or [], address, processes, number, threads) for number in here]
    raise typer.Exit(_wait(dict(zip(here, started, strict=True))))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(
    script: Path, arguments: list[str], address: str, processes: int, number: int, threads: int
) -> subprocess.Popen[bytes]:
    from consilience.simulation.processes import COORDINATOR, NUM_PROCESSES, PROCESS_ID

    environment = {
        **os.environ,
        COORDINATOR: address,
        NUM_PROCESSES: str(processes),
        PROCESS_ID: str(number),
        "NPROC": str(threads),  # threads of XLA on processors
    }
    program = "import sys; from consilience.simulation.processes import run_script; run_script(sys.argv[1:])"
    command = [sys.executable, "-c", program, str(script), *arguments]
    return subprocess.Popen(command, env=environment, stdout=None if number == 0 else subprocess.DEVNULL)


def _wait(running: dict[int, subprocess.Popen[bytes]]) -> int:
    """The exit code: that of the first process that fails, after which the others, who would wait for it, are ended."""
    try:
        while running:
            for number, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[number]
                if code:
                    messages.print(f"Process {number} ended with exit code {code}; the others are ended too.")
                    return abs(code)
            time.sleep(0.1)
        return 0
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
