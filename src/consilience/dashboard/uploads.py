"""Files that people bring: a graph as CSV, data as NPZ. Checked, limited in size, kept under their content's hash."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from consilience.dashboard.settings import MOST_AGENTS, path_of
from consilience.errors import ConsilienceError, DataError
from consilience.graphs import from_edges_csv
from consilience.store import Store
from consilience.store.files import replace_file
from consilience.tasks import from_npz

LARGEST = {".csv": 2**20, ".npz": 64 * 2**20}
"""Bytes of an upload, by ending."""
LARGEST_ARRAYS = 512 * 2**20
"""Bytes of all arrays of an NPZ file, unpacked."""


def keep(store: Store, filename: str, content: bytes) -> str:
    """Keep an upload in the store, once it is seen to be what its ending says.

    Args:
        store: it goes to the directory `uploads` in it.
        filename: what the person calls it; only its ending counts.
        content: the bytes.

    Returns:
        The name under which `path_of` finds it.

    Raises:
        DataError: for another ending, too many bytes, a content that is no graph or no task, or a graph of more agents
            than the page shows. Nothing is kept then.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     keep(Store(directory), "friends.csv", b"source,target\\n0,1\\n1,2\\n")
        '7377be25e18e2f66.csv'
    """
    shown = Path(filename).name.encode(errors="replace").decode()  # no half of a letter, which cannot be sent back
    ending = Path(shown).suffix.lower()
    if ending not in LARGEST:
        raise DataError(f"{shown!r} ends in {ending!r}. Bring a graph as .csv, or data as .npz.")
    if len(content) > LARGEST[ending]:
        raise DataError(
            f"{shown} has {len(content):,} bytes, and the page takes {LARGEST[ending]:,} of a {ending} "
            "file. Use a spec with file = ... and `consilience run` for larger ones."
        )
    _check(shown, ending, content)
    name = hashlib.sha256(content).hexdigest()[:16] + ending
    path = path_of(store, name)
    if not path.exists():
        try:
            replace_file(store.path, path, content)
        except OSError as error:
            raise DataError(
                f"{shown} cannot be kept in the store: {error.strerror or error}. Make room there, and bring it again."
            ) from error
    return name


def _check(shown: str, ending: str, content: bytes) -> None:
    """Read a file outside the store, where nothing is that has not been read.

    Args:
        shown: what the person calls it, for messages.
        ending: of `LARGEST`.
        content: the bytes.

    Raises:
        DataError: for what is no graph or no task.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="consilience-") as directory:
            path = Path(directory, f"upload{ending}")
            path.write_bytes(content)
            _read(path, shown)
    except OSError as error:
        raise DataError(
            f"{shown} cannot be looked at: {error.strerror or error}. Make room in {tempfile.gettempdir()}, and bring "
            "it again."
        ) from error


def _read(path: Path, shown: str) -> None:
    try:
        if path.suffix == ".csv":
            from_edges_csv(path, directed=False, most_agents=MOST_AGENTS)
        else:
            from_npz(path, most_bytes=LARGEST_ARRAYS)
    except ConsilienceError as error:
        raise DataError(str(error).replace(str(path), shown).replace(path.name, shown)) from error
