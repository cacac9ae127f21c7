"""Which kind of processor the laboratory computes on."""

from __future__ import annotations

import os

from consilience.errors import InvalidSpec, UnknownName

KINDS = ("cpu", "gpu", "tpu")


def use_device(kind: str) -> None:
    """Compute on this kind of device, in this process and in those that it starts.

    Without this call JAX takes the fastest kind that it finds. To be called before anything else that uses JAX.

    Args:
        kind: "cpu", "gpu" (CUDA or ROCm, with the JAX package for it) or "tpu".

    Raises:
        UnknownName: for another kind.
        InvalidSpec: if JAX finds no such device here.

    Example:
        >>> use_device("cpu")
    """
    if kind not in KINDS:
        raise UnknownName.among("device", kind, KINDS)
    import jax

    if kind == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
        jax.config.update("jax_platforms", "cpu")
        return
    found = jax.default_backend()
    if found != kind:
        package = 'pip install "jax[cuda13]"' if kind == "gpu" else 'pip install "jax[tpu]"'
        raise InvalidSpec(
            f"device {kind!r}: JAX finds only {found!r} here. Install its package for this device, {package} say, see "
            "that JAX_PLATFORMS is not set to something else, or use the device 'cpu'."
        )
