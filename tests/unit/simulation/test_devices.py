"""The kind of device is chosen in the open, and one that is not there is said so."""

from __future__ import annotations

import jax
import pytest

from consilience.errors import InvalidSpec, UnknownName
from consilience.simulation import precision, use_device


def test_a_kind_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    with pytest.raises(InvalidSpec, match=r"device 'gpu': JAX finds only 'cpu' here.*jax\[cuda13\]"):
        use_device("gpu")
    with pytest.raises(UnknownName, match=r"'gpx' is not a device\. Did you mean 'gpu'"):
        use_device("gpx")


def test_single_precision_is_exact_on_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their products of single-precision numbers keep some ten bits by default: the mean would not be conserved."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with precision("float32"):
        assert jax.config.jax_default_matmul_precision == "highest"
    monkeypatch.undo()
    with precision("float32"):
        assert jax.config.jax_default_matmul_precision is None
