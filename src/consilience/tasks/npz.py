"""A task from a file of arrays, as `numpy.savez` writes it. Nothing in it is unpickled."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

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
            for a task; or if it is too large.

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
            size = sum(member.file_size for member in archive.infolist())
        if size > most_bytes:
            raise DataError(
                f"The arrays in {path.name} take {size:,} bytes, more than the {most_bytes:,} that are accepted. Keep "
                "fewer samples, or store x as float32 or uint8."
            )
        with np.load(path, allow_pickle=False) as file:
            missing = [array for array in ARRAYS if array not in file.files]
            if missing:
                raise DataError(
                    f"{path.name} holds the arrays {', '.join(file.files) or 'none'}, and lacks {', '.join(missing)}. "
                    f"{how}"
                )
            arrays = [file[array] for array in ARRAYS]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. {how}") from error
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DataError(f"{path.name} is not an archive of numeric arrays: {error}. {how}") from error
    return from_arrays(*arrays, name=name or path.stem)
