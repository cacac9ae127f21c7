"""The catalog page of the docs, made of docstrings: `python -m consilience.algorithms.page docs/catalog/README.md`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from consilience.algorithms.catalog import catalog, other_methods
from consilience.algorithms.entry import Entry

_HEAD = """# The catalog

This page is made of the methods' docstrings (`make docs` writes it). `consilience list algorithms` lists them, and
`consilience explain NAME` says the same of one and counts its bits; `--cite` prints BibTeX. What was measured of the
claims of their papers is in [acceptance.md](acceptance.md).

"""


def catalog_page() -> str:
    """The page, in Markdown.

    Example:
        >>> catalog_page().startswith("# The catalog")
        True
    """
    parts = [_HEAD, *_index("Algorithms", catalog().values())]
    if other_methods():
        parts += _index("Schedules and one-shot methods", other_methods().values())
    parts += [_section(entry) for entry in (*catalog().values(), *other_methods().values())]
    return "".join(parts).rstrip() + "\n"


def _index(title: str, entries: Iterable[Entry]) -> list[str]:
    rows = [
        f"| [{one.name}](#{one.name}) | {', '.join(one.needs).replace('_', ' ')} | {one.summary} |\n" for one in entries
    ]
    return [f"## {title}\n\n| name | needs | what it is |\n|---|---|---|\n", *rows, "\n"]


def _section(entry: Entry) -> str:
    call = f"`cs.algorithms.{entry.method.__name__}`" if entry.name in catalog() else f"`{entry.method.__name__}`"
    lines = [f"### {entry.name}\n\n{call}: {entry.summary}\n\n"]
    for name, body in entry.sections.items():
        if name == "Example":
            lines.append(f"```pycon\n{body}\n```\n\n")
        elif name == "Attributes":
            items = re.sub(r"\n\s+", " ", body).splitlines()
            lines.append("".join(f"- {_escaped(item)}\n" for item in items) + "\n")
        else:
            lines.append(f"**{name}.** {_escaped(body)}\n\n")
    return "".join(lines)


def _escaped(text: str) -> str:
    """Stars and underscores outside of code as they are."""
    parts = text.split("`")
    return "`".join(re.sub(r"([*_])", r"\\\1", part) if index % 2 == 0 else part for index, part in enumerate(parts))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(catalog_page(), encoding="utf-8")
