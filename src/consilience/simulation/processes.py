"""One population over several processes, on one machine or on many: joining them."""

from __future__ import annotations

import os
import runpy
import sys
import traceback

from consilience.errors import InvalidSpec

COORDINATOR, NUM_PROCESSES, PROCESS_ID = (
    "CONSILIENCE_COORDINATOR",
    "CONSILIENCE_NUM_PROCESSES",
    "CONSILIENCE_PROCESS_ID",
)
"""Environment variables: host and port of the first process, how many there are, and which of them this one is."""


def join(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Join the processes among which populations are shared out; from then on `simulate` uses all their devices.

    Every process runs the same program and calls `simulate` with the same arguments, and all get the same results. Only
    what agents say to each other travels: see docs/large-populations.md. To be called before anything else that uses
    JAX.

    Args:
        coordinator: "host:port" of the first process, which listens there.
        num_processes: how many there are.
        process_id: which one this is, from 0.

    What is left out comes from the environment: from `consilience launch`, or from Slurm, Open MPI and the like, where
    JAX knows how to ask.

    Raises:
        InvalidSpec: if the environment says nothing, or something that cannot be.

    Example:
        >>> import consilience as cs
        >>> cs.simulation.join("10.0.0.1:7000", num_processes=4, process_id=0)          # doctest: +SKIP
    """
    import jax

    coordinator = coordinator or os.environ.get(COORDINATOR)
    num_processes = num_processes if num_processes is not None else _number(NUM_PROCESSES)
    process_id = process_id if process_id is not None else _number(PROCESS_ID)
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise InvalidSpec(
            f"process_id={process_id} of num_processes={num_processes}: processes are counted from 0 to "
            f"{num_processes - 1}. Give each process another number, and the first one 0."
        )
    # Between processors of hosts messages travel by gloo; between accelerators by their own means, whatever this says.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # Without this the first process would listen to the whole network even where all processes are on its machine.
    host = (coordinator or "").rpartition(":")[0]
    bind = coordinator if host in ("127.0.0.1", "localhost") else None
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id, coordinator_bind_address=bind)
    except ValueError as error:
        raise InvalidSpec(
            f"It is not known which processes to join ({error}). Start the program by `consilience launch`, or write "
            'cs.simulation.join("host:port", num_processes=4, process_id=0), with another process_id in each process.'
        ) from error


def _number(variable: str) -> int | None:
    text = os.environ.get(variable)
    if text is not None and not text.isdecimal():
        raise InvalidSpec(f"{variable}={text!r} is not a number of processes. Set it to 4, say.")
    return None if text is None else int(text)


def run_script(arguments: list[str]) -> None:
    """Join the processes that the environment names, then run a script with its arguments, as `python` would.

    This is what `consilience launch` starts in each process.
    """
    join()
    sys.argv = arguments
    sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        # At an ordinary end JAX waits for the other processes, who may be waiting for this one.
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
