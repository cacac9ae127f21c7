"""Networks: what an agent is made of. A model is two pure functions, `init` and `apply`."""

from __future__ import annotations

from typing import Any

from consilience.errors import UnknownName
from consilience.models.adapters import EquinoxModel, FunctionModel, as_model, from_equinox, from_functions
from consilience.models.convolutional import ConvolutionalNetwork, cnn
from consilience.models.mlp import MLP, mlp, softmax_regression
from consilience.models.model import Model, Params, num_parameters, parameter_shapes
from consilience.models.ntk_mlp import NTKMLP, ntk_mlp

FAMILIES = {"mlp": mlp, "ntk_mlp": ntk_mlp, "cnn": cnn, "softmax_regression": softmax_regression}
"""Models that can be named in a spec file."""


def make(family: str, **arguments: Any) -> Model:
    """The model of a named family, `make("mlp", depth=1)`, say; for specs that are text."""
    if family not in FAMILIES:
        raise UnknownName.among("model", family, FAMILIES)
    return FAMILIES[family](**arguments)


__all__ = [
    "FAMILIES",
    "MLP",
    "NTKMLP",
    "ConvolutionalNetwork",
    "EquinoxModel",
    "FunctionModel",
    "Model",
    "Params",
    "as_model",
    "cnn",
    "from_equinox",
    "from_functions",
    "make",
    "mlp",
    "ntk_mlp",
    "num_parameters",
    "parameter_shapes",
    "softmax_regression",
]
