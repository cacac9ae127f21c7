"""Files that people bring: a graph as CSV, data as NPZ. Checked, limited in size, kept under their content's hash."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from consilience.errors import DataError
from consilience.graphs import from_edges_csv
from consilience.store import Store
from consilience.store.files import replace_file
from consilience.tasks import from_npz

LARGEST = {".csv": 2**20, ".npz": 64 * 2**20}
"""Bytes of an upload, by ending."""
LARGEST_ARRAYS = 512 * 2**20
"""Bytes of all arrays of an NPZ file, unpacked."""
_NAME = re.compile(r"[0-9a-f]{16}\.(csv|npz)")


def keep(store: Store, filename: str, content: bytes) -> str:
    """Keep an upload in the store, once it is seen to be what its ending says.

    Args:
        store: it goes to the directory `uploads` in it.
        filename: what the person calls it; only its ending counts.
        content: the bytes.

    Returns:
        The name under which `path_of` finds it.

    Raises:
        DataError: for another ending, too many bytes, or a content that is no graph or no task.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     keep(Store(directory), "friends.csv", b"source,target\\n0,1\\n1,2\\n")
        '7377be25e18e2f66.csv'
    """
    ending = Path(filename).suffix.lower()
    if ending not in LARGEST:
        raise DataError(f"{Path(filename).name!r} ends in {ending!r}. Bring a graph as .csv, or data as .npz.")
    if len(content) > LARGEST[ending]:
        raise DataError(
            f"{Path(filename).name} has {len(content):,} bytes, and the page takes {LARGEST[ending]:,} of a {ending} "
            "file. Use a spec with file = ... and `consilience run` for larger ones."
        )
    name = hashlib.sha256(content).hexdigest()[:16] + ending
    path = path_of(store, name)
    if not path.exists():
        replace_file(store.path, path, content)
        try:
            from_edges_csv(path, directed=False) if ending == ".csv" else from_npz(path, most_bytes=LARGEST_ARRAYS)
        except DataError as error:
            path.unlink()
            raise DataError(str(error).replace(str(path), Path(filename).name)) from error
    return name


def path_of(store: Store, name: str) -> Path:
    """Where an upload is.

    Raises:
        DataError: for a name that `keep` never gave.
    """
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} is no file that was brought to this laboratory. Bring it again.")
    return store.path.absolute() / "uploads" / name
