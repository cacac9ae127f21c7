"""Things by name, for specs that are text: a name, or a table of a name and settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from consilience.errors import InvalidSpec, UnknownName


def make_named(kind: str, registry: Mapping[str, Callable[..., Any]], given: Any) -> Any:
    """What a name, or a table with a name, stands for; anything else as it is.

    Args:
        kind: what it is, for messages.
        registry: name → class or function.
        given: a name; a table of "name" and settings; or the thing itself.

    Raises:
        UnknownName: if nothing, or no setting of it, has that name.
        InvalidSpec: if a setting is missing or wrong.

    Example:
        >>> shapes = {"box": lambda width, height: (width, height)}
        >>> make_named("shape", shapes, {"name": "box", "width": 2, "height": 1})
        (2, 1)
    """
    if not isinstance(given, (str, Mapping)):
        return given
    settings = {"name": given} if isinstance(given, str) else dict(given)
    name = str(settings.pop("name", None))
    if name not in registry:
        raise UnknownName.among(kind, name, registry)
    known = list(inspect.signature(registry[name]).parameters)
    for setting in settings:
        if setting not in known:
            raise UnknownName.among(f"setting of the {kind} {name}", setting, known or ["none"])
    try:
        return registry[name](**settings)
    except TypeError as error:
        raise InvalidSpec(
            f"The {kind} {name} lacks a setting: {error}. It takes {', '.join(known)}; write "
            f'{{name = "{name}", {known[0]} = ...}}.'
        ) from error
