"""Graphs from files: an edge list in CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from consilience.errors import DataError
from consilience.graphs.arguments import whole_number
from consilience.graphs.graph import Graph

COLUMNS = ("source", "target", "weight")
_MOST_DIGITS = 100
"""Characters of a label that is a number; Python reads no more than 4,300, and no message should show as many."""


def from_edges_csv(
    path: str | Path, *, directed: bool, num_agents: int | None = None, most_agents: int | None = None
) -> Graph:
    """The graph of an edge list: one line `source,target` or `source,target,weight` per edge.

    A first line that names the columns is optional, and may put them in another order. If all labels are integers, they
    are the agents' numbers, from 0; otherwise the labels are sorted, and the first becomes agent 0.

    Args:
        path: the file, in UTF-8.
        directed: True: the target listens to the source. False: each listens to the other, and an edge is listed once,
            or in both directions with the same weight.
        num_agents: number of agents, with integer labels; needed only if some agents have no edge.
        most_agents: number of agents above which the file is refused, before there is a matrix for them; any number
            by default.

    Raises:
        DataError: if there is no such file, a line is malformed, which the message names by its number, or there are
            too many agents.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "friends.csv")
        ...     _ = file.write_text("source,target,weight\\nbob,ann,2.5\\nann,eve,1")
        ...     graph = from_edges_csv(file, directed=True)
        >>> graph.adjacency[0]   # ann listens to bob
        array([0. , 2.5, 0. ])
    """
    path = Path(path)
    edges = list(_edges_of(path))
    labels = {label for edge in edges for label in (edge.source, edge.target)}
    number_of, size = _numbering(labels, path, num_agents)
    if most_agents is not None and size > most_agents:
        raise DataError(
            f"{path} is a graph of {size:,} agents, more than the {most_agents:,} that are accepted. Keep the edges "
            "among fewer of them."
        )
    q = np.zeros((size, size))
    listed: dict[tuple[int, int], _Edge] = {}
    for edge in edges:
        source, target = number_of[edge.source], number_of[edge.target]
        _check_new(edge, same=listed.get((source, target)), reverse=listed.get((target, source)), directed=directed)
        listed[source, target] = edge
        q[target, source] = edge.weight
        if not directed:
            q[source, target] = edge.weight
    return Graph(q, path.stem)


@dataclass(frozen=True)
class _Edge:
    source: str
    target: str
    weight: float
    where: str


def _check_new(edge: _Edge, *, same: _Edge | None, reverse: _Edge | None, directed: bool) -> None:
    shown = f"{edge.where}: the edge {edge.source} → {edge.target}"
    if edge.source == edge.target:
        raise DataError(f"{shown} is a loop, but an agent is not its own neighbour. Remove the line.")
    if same is not None:
        raise DataError(f"{shown} was given before ({same.where}). Remove one of them, or add their weights.")
    if reverse is not None and not directed and reverse.weight != edge.weight:
        raise DataError(
            f"{shown} has weight {edge.weight:g}, but in the other direction {reverse.weight:g} ({reverse.where}), "
            "and an edge without direction has one weight. Give both the same, or write directed=True."
        )


def _edges_of(path: Path) -> Iterator[_Edge]:
    """The edges of the file; columns are those of the header, or as many of the usual ones as the first line has."""
    columns: tuple[str, ...] = ()
    for where, cells in _rows_of(path):
        if not columns:
            names = tuple(cell.lower() for cell in cells)
            if is_header := {"source", "target"} <= set(names):
                columns = names
            else:
                columns = COLUMNS[: len(cells)]
            are_known = set(columns) <= set(COLUMNS) and len(set(columns)) == len(columns)
            if not are_known or not 2 <= len(columns) == len(cells):
                raise DataError(
                    f"{where}: {','.join(cells)!r} is neither an edge, source,target or source,target,weight, nor a "
                    "header of these columns. Separate them by commas, and remove other columns."
                )
            if is_header:
                continue
        if len(cells) != len(columns):
            raise DataError(
                f"{where}: {','.join(cells)!r} has {len(cells)} column(s), but the first line has {len(columns)} "
                f"({','.join(columns)}). Give every edge as many, separated by commas."
            )
        yield _edge(dict(zip(columns, cells, strict=True)), where)


def _rows_of(path: Path) -> list[tuple[str, list[str]]]:
    """Where it stands ("file, line 3"), and the stripped cells, of every line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}. Write the path of an edge list in CSV.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}. Save it as comma-separated text.") from error
    rows = []
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((f"{path}, line {reader.line_num}", cells))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: {error}. Save the file as comma-separated text, with quotes in pairs."
        ) from error
    return rows


def _edge(cells: dict[str, str], where: str) -> _Edge:
    for column in ("source", "target"):
        if not cells[column]:
            raise DataError(f"{where}: the {column} is empty. Write the label of an agent.")
    try:
        weight = float(cells.get("weight", "1"))
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise DataError(
            f"{where}: the weight is {cells['weight']!r}, but the weight of an edge is a finite number > 0. Write such "
            "a number, or remove the line if there is no edge."
        )
    return _Edge(cells["source"], cells["target"], weight, where)


def _numbering(labels: set[str], path: Path, num_agents: int | None) -> tuple[dict[str, int], int]:
    """Label → number of the agent, and the number of agents."""
    if not labels and num_agents is None:
        raise DataError(f"{path} holds no edges. Write one line per edge, or num_agents=... for agents without edges.")
    if num_agents is not None:
        num_agents = whole_number("num_agents", num_agents, at_least=1, reason="a population has one agent at least.")
    if not all(re.fullmatch(r"[+-]?\d+", label) for label in labels):
        if num_agents not in (None, len(labels)):
            raise DataError(
                f"{path} has {len(labels)} labels, which are names, but num_agents={num_agents}, and an agent without "
                "an edge has no name. Leave num_agents out, or label the agents by integers from 0."
            )
        return {label: number for number, label in enumerate(sorted(labels))}, len(labels)

    if unreadable := [label for label in labels if len(label) > _MOST_DIGITS]:
        raise DataError(
            f"{path} labels an agent {unreadable[0][:_MOST_DIGITS]}…, a number of {len(unreadable[0]):,} characters, "
            "but agents are numbered 0, 1, 2 and so on. Count from 0, or put a letter before each label to have them "
            "sorted as names."
        )
    number_of = {label: int(label) for label in labels}
    size = num_agents if num_agents is not None else len(set(number_of.values()))
    if outside := sorted(number for number in number_of.values() if not 0 <= number < size):
        raise DataError(
            f"{path} labels an agent {outside[-1]}, but {size} agents are numbered 0 … {size - 1}. Count from 0; "
            "write num_agents=... if some agents have no edge, or put a letter before each label to have them sorted "
            "as names."
        )
    return number_of, size
