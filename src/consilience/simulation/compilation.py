"""How programs are compiled, and kept: JAX's persistent cache, with which what is compiled once starts fast later."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# On processors XLA gives matrix products to one of two libraries. Its default is the slower one for products of dense
# layers, of many rows with few columns: measured on the MNIST sweep, by 8 % on one core and 25 % on two. For
# convolutions, of few rows with many columns and more axes, it is five times the faster one.
_PRODUCTS_BY_EIGEN = {"xla_cpu_experimental_ynn_fusion_type": ""}


def use_compilation_cache(path: str | Path | None = None) -> Path:
    """Keep compiled programs on disk and use them again in later sessions.

    A global setting of JAX, so nothing does this behind a user's back but the command line, which calls it.

    Args:
        path: a directory; the environment variable JAX_COMPILATION_CACHE_DIR or the user's cache by default.

    Returns:
        The directory.
    """
    import jax
    import platformdirs

    default = os.environ.get("JAX_COMPILATION_CACHE_DIR") or Path(platformdirs.user_cache_dir("consilience")) / "xla"
    path = Path(path or default)
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    return path


def compiled(lowered: Any, *, large_activations: bool) -> Any:
    """A lowered program, compiled with the options that suit the device and the network."""
    import jax

    if jax.default_backend() != "cpu" or large_activations:
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=_PRODUCTS_BY_EIGEN)
    except jax.errors.JaxRuntimeError as error:
        if "compile option" not in str(error):
            raise
        return lowered.compile()  # another version of XLA, without that option
