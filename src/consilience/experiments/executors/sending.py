"""A job on its way to other processes, and the surroundings that it needs there."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
from typing import Any

import cloudpickle
import jax

from consilience.errors import InvalidSpec
from consilience.experiments.executors.pool import Job


def packed(job: Job) -> bytes:
    """The job as bytes. Functions and classes of a script, a notebook or a lambda are sent by their code.

    Raises:
        InvalidSpec: for something that cannot be sent: an open file, say.
    """
    try:
        return cloudpickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise InvalidSpec(
            f"{_culprit(job)} cannot be sent to another process: {error}. Define it in a module that can be imported, "
            "without open files, locks and the like; or run it in this process, executor='local'."
        ) from error


def _culprit(thing: Any, name: str = "This sweep") -> str:
    """The innermost field of dataclasses that cannot be pickled."""
    if dataclasses.is_dataclass(thing):
        for field in dataclasses.fields(thing):
            value = getattr(thing, field.name)
            try:
                cloudpickle.dumps(value)
            except Exception:
                return _culprit(value, f"{field.name}={value!r}"[:200])
    return name


def thread_variables(num_threads: int) -> dict[str, str]:
    """Environment variables that give XLA and BLAS so many threads; they must be there before JAX is."""
    names = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(num_threads))


def local_variables(num_threads: int) -> dict[str, str]:
    """Those that make a process of this machine find the same modules, and its own compiled programs."""
    variables = {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    cache = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if cache:
        # How XLA cuts a program up depends on the number of threads, and nothing in the cache's keys does.
        least = jax.config.jax_persistent_cache_min_compile_time_secs  # pyright: ignore[reportAttributeAccessIssue]
        variables["JAX_COMPILATION_CACHE_DIR"] = os.path.join(cache, f"threads-{num_threads}")
        variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(least)
    return variables
