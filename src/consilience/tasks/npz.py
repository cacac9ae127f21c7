"""A task from a file of arrays, as `numpy.savez` writes it. Nothing in it is unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from consilience.errors import DataError
from consilience.tasks.arrays import from_arrays
from consilience.tasks.task import Task

ARRAYS = ("x", "y", "x_test", "y_test")
MOST_BYTES = 2**30


def from_npz(path: str | os.PathLike[str], *, name: str | None = None, most_bytes: int = MOST_BYTES) -> Task:
    """The task in a file with the arrays `x`, `y`, `x_test` and `y_test` of `from_arrays`.

    Args:
        path: the file; `numpy.savez_compressed(path, x=..., y=..., x_test=..., y_test=...)` writes one.
        name: for reports and plots; the file's name without its ending by default.
        most_bytes: size of all arrays together above which the file is refused, before any of it is unpacked.

    Raises:
        DataError: if there is no such file, it is no archive of arrays, an array is missing, holds objects, or is wrong
            for a task; or if it is damaged, encrypted or too large.
        InvalidSpec: if its labels are all of one class.

    Example:
        >>> import pathlib, tempfile
        >>> x, y = np.linspace(-1, 1, 8)[:, None], np.arange(8) % 2
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder, "mine.npz")
        ...     np.savez(file, x=x, y=y, x_test=x, y_test=y)
        ...     from_npz(file)
        Task('mine': 8 + 8 samples of shape (1,), 2 classes, cross_entropy)
    """
    path = Path(path)
    how = f"Write numpy.savez({path.name!r}, x=..., y=..., x_test=..., y_test=...)."
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path, most_bytes, how)
            arrays = [_array(archive, array) for array in ARRAYS]
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. {how}") from error
    except MemoryError as error:
        raise _too_large_to_hold(path) from error
    except Exception as error:
        # Damaged, encrypted, or packed in a way unknown here: zipfile, zlib, lzma and numpy's reader of headers each
        # have exceptions of their own for it, which share no class.
        reason = str(error).rstrip(".") or type(error).__name__
        raise DataError(f"{path.name} is not an archive of numeric arrays: {reason}. {how}") from error
    try:
        return from_arrays(*arrays, name=name or path.stem)
    except MemoryError as error:  # numbers of one byte take four in a task
        raise _too_large_to_hold(path) from error


def _too_large_to_hold(path: Path) -> DataError:
    return DataError(f"The arrays in {path.name} do not fit into memory. Keep fewer samples.")


def _check_members(archive: zipfile.ZipFile, path: Path, most_bytes: int, how: str) -> None:
    """Refuse an archive that is too large, or lacks an array."""
    size = sum(member.file_size for member in archive.infolist())
    if size > most_bytes:
        raise DataError(
            f"The arrays in {path.name} take {size:,} bytes, more than the {most_bytes:,} that are accepted. Keep "
            "fewer samples, or store x as float32 or uint8."
        )
    names = [member.filename.removesuffix(".npy") for member in archive.infolist()]
    if missing := [array for array in ARRAYS if f"{array}.npy" not in archive.namelist()]:
        raise DataError(
            f"{path.name} holds the arrays {', '.join(names) or 'none'}, and lacks {', '.join(missing)}. {how}"
        )


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of the archive; its header is looked at first, for numpy makes room for all that it claims.

    Raises:
        ValueError: if it claims more than there is, or is no array of numbers; and what zipfile raises.
    """
    member = archive.getinfo(f"{name}.npy")
    if member.flag_bits & 1:
        raise ValueError(f"{name} is encrypted")
    with archive.open(member) as stream:
        # Versions differ in how long the header may be, and in letters that no name of a numeric type has.
        is_first = npy.read_magic(stream) == (1, 0)
        shape, _, dtype = (npy.read_array_header_1_0 if is_first else npy.read_array_header_2_0)(stream)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > member.file_size and not dtype.hasobject:  # objects are pickled, and refused below
        raise ValueError(
            f"the header of {name} claims shape {shape} of {dtype}, {claimed:,} bytes, and {member.file_size:,} are "
            "there"
        )
    with archive.open(member) as stream:
        return npy.read_array(stream, allow_pickle=False)
