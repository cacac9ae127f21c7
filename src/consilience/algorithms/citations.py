"""BibTeX entries of the methods."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from consilience.errors import UnknownName


@cache
def references() -> dict[str, str]:
    """All entries of `references.bib`, by key.

    Example:
        >>> references()["lian2017"].partition("{")[0]
        '@inproceedings'
    """
    text = files("consilience.algorithms").joinpath("references.bib").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=@)", text.strip())
    return {entry.partition("{")[2].partition(",")[0].strip(): entry.strip() for entry in entries}


def cite(*keys: str) -> str:
    """The BibTeX entries of some keys.

    Raises:
        UnknownName: for a key without an entry.

    Example:
        >>> print(cite("sayed2014").splitlines()[0])
        @article{sayed2014,
    """
    for key in keys:
        if key not in references():
            raise UnknownName.among("reference", key, references())
    return "\n\n".join(references()[key] for key in keys)
