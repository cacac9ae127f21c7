"""The process at the other end of a pipe: receives a job, then blocks, and sends messages back.

It never outlives the sweep: between two chunks it looks at the pipe, on which nothing arrives while it computes unless
the sweep has ended, by whatever death.
"""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection

from consilience.experiments.executors.pool import Chunk, Failed, Stopped, attempt, portable

READY = "ready"


def main(descriptor: int) -> None:
    """Serve the sweep that holds the other end of `descriptor`, until it ends."""
    with Connection(descriptor) as sweep:

        def on_chunk(chunk: Chunk) -> bool:
            try:
                sweep.send(chunk)
                return sweep.poll()
            except OSError:
                return True

        try:
            sweep.send(READY)
            try:
                job = pickle.loads(sweep.recv_bytes())
            except (EOFError, OSError):
                raise
            except Exception as error:
                sweep.send(Failed(None, portable(error)))
                return
            while True:
                block, initial_params = sweep.recv()
                sweep.send(attempt(job, block, initial_params, on_chunk))
        except (EOFError, OSError, Stopped):
            return
