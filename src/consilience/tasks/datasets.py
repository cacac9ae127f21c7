"""The four image data sets, through one lookup.

`digits` comes with scikit-learn. The others are looked for in `data_dir`, in the directory that CONSILIENCE_DATA names,
and in the user's cache, and are otherwise downloaded into that cache. Files in the cache are checked against the
SHA-256 of the published ones, when they arrive and whenever they are read. Files in a directory that a person named are
used as they are, since people repack them (a gzip header holds a date): there the structure is checked, not the bytes.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consilience.errors import DataError, UnknownName
from consilience.randomness import Purpose, generator
from consilience.tasks import cifar, idx
from consilience.tasks.arrays import resolve_loss
from consilience.tasks.downloads import cache_directory, fetch, user_directories, verify
from consilience.tasks.losses import CrossEntropy, Loss
from consilience.tasks.published import PUBLISHED
from consilience.tasks.task import Task, stratified_indices

DATA_SETS: tuple[str, ...] = ("digits", *PUBLISHED)

_NUM_CLASSES = 10
_NUM_DIGITS, _NUM_DIGITS_TEST, _DIGITS_SHAPE = 1797, 360, (8, 8)
_DIGITS_SPLIT_SEED = 1797  # part of the identity of the task: it says which images are test images


@dataclass(frozen=True)
class DataStatus:
    """What is known about a data set on this machine.

    Args:
        name: the data set.
        location: the folder it was found in, "embedded" for digits, or None: then `load` would download it.
        num_train: training images in the files found, or in the published ones if none were found.
        num_test: test images, likewise.
        shape: shape of one image.
        problem: why the files found cannot be used, or None.
    """

    name: str
    location: Path | str | None
    num_train: int
    num_test: int
    shape: tuple[int, ...]
    problem: str | None = None


def load(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    num_train: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
    loss: Loss | str | None = None,
) -> Task:
    """A data set as a classification task: pixels in [0, 1] as float32, labels 0 … 9, cross-entropy.

    | name          | shape of an image | train  | test   |                                                     |
    |---------------|-------------------|--------|--------|-----------------------------------------------------|
    | digits        | (8, 8)            | 1,437  | 360    | embedded; one fixed, stratified split of all images |
    | mnist         | (28, 28)          | 60,000 | 10,000 | handwritten digits                                  |
    | fashion_mnist | (28, 28)          | 60,000 | 10,000 | pieces of clothing                                  |
    | cifar10       | (32, 32, 3)       | 50,000 | 10,000 | or those in a file `cifar10/cifar10_10k.npz`        |

    Args:
        name: one of the names above.
        data_dir: a directory with a folder per data set (`mnist/train-images-idx3-ubyte.gz`, compressed or not), or
            that folder itself; searched before the directory named by the environment variable CONSILIENCE_DATA, the
            user's cache and the network.
        num_train: keep that many training samples, stratified by class (`Task.subset`).
        num_test: keep that many test samples.
        seed: which samples are kept.
        loss: a loss or its name, cross-entropy by default; "squared" compares the outputs with one-hot labels, which
            the theory of wide networks needs.

    Raises:
        UnknownName: there is no such data set.
        DataError: files are missing, damaged or malformed, or could not be downloaded.
        InvalidSpec: more samples are asked for than there are.

    Example:
        >>> load("digits", num_train=500)
        Task('digits': 500 + 360 samples of shape (8, 8), 10 classes, cross_entropy)
    """
    if name == "digits":
        task = _image_task(name, 16, _read_digits())
    elif name in PUBLISHED:
        task = _image_task(name, 255, _read(name, _obtain(name, data_dir)))
    else:
        raise UnknownName.among("data set", name, DATA_SETS)
    if loss is not None:
        task = dataclasses.replace(task, loss=resolve_loss(loss, task.num_classes))
    return task.subset(num_train=num_train, num_test=num_test, seed=seed)


def data_status(*, data_dir: str | os.PathLike[str] | None = None) -> list[DataStatus]:
    """Where each data set is on this machine. Nothing is downloaded; files that are found are read through and checked.

    Raises:
        DataError: `data_dir` or CONSILIENCE_DATA is not a directory.

    Example:
        >>> data_status()[0].location
        'embedded'
    """
    records = [DataStatus("digits", "embedded", _NUM_DIGITS - _NUM_DIGITS_TEST, _NUM_DIGITS_TEST, _DIGITS_SHAPE)]
    for name, published in PUBLISHED.items():
        num_train, num_test, problem = published.num_train, published.num_test, None
        location, _ = _locate(name, data_dir)
        if location is not None:
            try:
                _, train_labels, _, test_labels = _read(name, _files(name, location))
                num_train, num_test = len(train_labels), len(test_labels)
            except DataError as error:
                problem = str(error)
        records.append(DataStatus(name, location, num_train, num_test, published.shape, problem))
    return records


def _folder(directory: Path, name: str) -> Path:
    """The folder of a data set in `directory`, which may also be that folder itself."""
    inside = directory / name
    return directory if directory.name == name and not inside.is_dir() else inside


def _locate(name: str, data_dir: str | os.PathLike[str] | None) -> tuple[Path | None, list[str]]:
    """The first folder with files of the data set, or None; and the folders that were searched in vain."""
    searched = []
    for directory in user_directories(data_dir):
        place = _folder(directory, name)
        if any(PUBLISHED[name].find(place)):
            return place, searched
        searched.append(str(place))
    cache = _folder(cache_directory(), name)
    # All, not any: a download that was interrupted between two files is to be continued.
    if all(PUBLISHED[name].find(cache)):
        return cache, searched
    return None, [*searched, str(cache)]


def _obtain(name: str, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """The files of a data set, downloaded if they are nowhere on this machine."""
    place, searched = _locate(name, data_dir)
    if place is not None:
        return _files(name, place)
    cache = _folder(cache_directory(), name)
    return [fetch(remote, cache, data_set=name, searched=searched) for remote in PUBLISHED[name].downloads]


def _files(name: str, place: Path) -> list[Path]:
    """The files of a data set in a folder that has some of them; `DataError` unless it has all, undamaged."""
    names, found = PUBLISHED[name].alternatives, PUBLISHED[name].find(place)
    missing = [alternatives[0] for alternatives, path in zip(names, found, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{place} has some files of {name!r} and lacks {', '.join(missing)}: images without their labels, or the "
            "reverse, are of no use. Add what is missing, or name another directory."
        )
    paths = [path for path in found if path is not None]
    if place == _folder(cache_directory(), name):
        remotes = {remote.name: remote for remote in PUBLISHED[name].downloads}
        for path in paths:
            if path.name in remotes:
                verify(path, remotes[path.name])
    return paths


def _read(name: str, paths: list[Path]) -> cifar.Images:
    """The images and labels as the files have them, with their structure checked."""
    if name == "cifar10":
        arrays = cifar.read(paths[0])
        sources = [f"{part} of {paths[0]}" for part in ("train_images", "train_labels", "test_images", "test_labels")]
    else:
        train_images, train_labels, test_images, test_labels = (idx.read(path) for path in paths)
        arrays, sources = (train_images, train_labels, test_images, test_labels), [str(path) for path in paths]
    for half in (slice(0, 2), slice(2, 4)):
        (images, labels), (images_source, labels_source) = arrays[half], sources[half]
        _check_images(images, PUBLISHED[name].shape, images_source)
        _check_labels(labels, labels_source)
        if len(images) != len(labels):
            raise DataError(
                f"{images_source} has {len(images)} images and {labels_source} has {len(labels)} labels: every image "
                "needs one. The two files come from different data sets, or one was cut: fetch both again."
            )
    return arrays


def _check_images(images: NDArray[Any], shape: tuple[int, ...], source: str) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) == 0:
        raise DataError(
            f"{source} holds an array of type {images.dtype} and shape {images.shape}: expected bytes (uint8) of shape "
            f"(images, {', '.join(map(str, shape))}). It is the file of another data set: replace it, or read the "
            "arrays yourself and use from_arrays."
        )


def _check_labels(labels: NDArray[Any], source: str) -> None:
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(
            f"{source} holds an array of type {labels.dtype} and shape {labels.shape}: expected one integer per image. "
            "It is the file of another data set: replace it, or read the arrays yourself and use from_arrays."
        )
    wrong = (labels < 0) | (labels >= _NUM_CLASSES)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            f"{source} has {np.count_nonzero(wrong)} labels outside 0 … {_NUM_CLASSES - 1}, the first is "
            f"{labels[first]} at index {first}: there are {_NUM_CLASSES} classes. The file is damaged: replace it."
        )


def _read_digits() -> cifar.Images:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images, labels = bunch.images.astype(np.uint8), bunch.target
    test = stratified_indices(labels, _NUM_DIGITS_TEST, generator(_DIGITS_SPLIT_SEED, Purpose.SUBSET))
    train = np.setdiff1d(np.arange(_NUM_DIGITS), test)
    return images[train], labels[train], images[test], labels[test]


def _image_task(name: str, white: int, arrays: cifar.Images) -> Task:
    """A task from images with integer pixels 0 … white."""
    train_images, train_labels, test_images, test_labels = arrays
    train_inputs, test_inputs = (np.divide(a, white, dtype=np.float32) for a in (train_images, test_images))
    labels, labels_test = train_labels.astype(np.int32), test_labels.astype(np.int32)
    return Task(name, train_inputs, labels, test_inputs, labels_test, _NUM_CLASSES, CrossEntropy())
