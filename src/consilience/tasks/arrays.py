"""A task from a person's own arrays: conversion, and the checks that keep a bad value out of every later result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from consilience.errors import DataError, IncompatiblePair, InvalidSpec
from consilience.tasks.losses import CrossEntropy, Loss, SquaredLoss, by_name
from consilience.tasks.task import Task


def from_arrays(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    *,
    name: str = "arrays",
    loss: Loss | str | None = None,
    num_classes: int | None = None,
) -> Task:
    """A task from your own arrays, copied and checked.

    Integer labels make a classification task, real targets a regression task.

    Args:
        x: training inputs, shape (samples, *features). float64 stays, anything else becomes float32; inputs of shape
            (samples,) become (samples, 1).
        y: training labels: integers 0 … C−1, shape (samples,); or real targets, shape (samples,) or (samples, outputs).
        x_test: test inputs, like `x`.
        y_test: test labels, like `y`.
        name: for reports and plots.
        loss: a loss or its name; by default cross-entropy for classes and the squared loss for real targets.
        num_classes: C; by default the largest label of both sets, plus one.

    Raises:
        DataError: an array is empty, of a type without numbers, holds NaN or infinities; lengths, feature shapes or
            kinds of labels do not match; a label is out of range.
        IncompatiblePair: cross-entropy with real targets.
        InvalidSpec: `num_classes` is below 2 or given for real targets; the loss has no name.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 8)
        >>> from_arrays(x, np.sin(x), x, np.sin(x), name="sine")
        Task('sine': 8 + 8 samples of shape (1,), regression of 1, squared)
    """
    inputs, inputs_test = _numeric("x", x), _numeric("x_test", x_test)
    labels, labels_test = _numeric("y", y), _numeric("y_test", y_test)
    for first, second, a, b in (("x", "y", inputs, labels), ("x_test", "y_test", inputs_test, labels_test)):
        if len(a) != len(b):
            raise DataError(
                f"{first} has {len(a)} samples and {second} has {len(b)}: every input needs one label. Give both the "
                "same length along axis 0."
            )
    inputs, inputs_test = _floats(("x", inputs), ("x_test", inputs_test))
    if labels.dtype.kind != labels_test.dtype.kind and "f" in (labels.dtype.kind, labels_test.dtype.kind):
        raise DataError(
            f"y has type {labels.dtype} and y_test has type {labels_test.dtype}: integers are classes and real numbers "
            "are regression targets, so the two cannot belong to one task. Convert one, y.astype(int) say."
        )
    if labels.dtype.kind == "f":
        if num_classes is not None:
            raise InvalidSpec(
                f"num_classes={num_classes} was given with labels of type {labels.dtype}: real numbers are regression "
                "targets and have no classes. Convert them with y.astype(int), or leave num_classes out."
            )
        labels, labels_test = _floats(("y", labels), ("y_test", labels_test))
        if labels.ndim != 2:
            raise DataError(
                f"y has shape {labels.shape}: regression targets are one number or one vector per sample. "
                "Write y.reshape(len(y), -1)."
            )
    else:
        num_classes = _check_labels(labels, labels_test, num_classes)
        labels, labels_test = labels.astype(np.int32), labels_test.astype(np.int32)
    return Task(name, inputs, labels, inputs_test, labels_test, num_classes, resolve_loss(loss, num_classes))


def resolve_loss(loss: Loss | str | None, num_classes: int | None) -> Loss:
    """The loss of that name, or the usual one of the task; checked."""
    if loss is None:
        return SquaredLoss() if num_classes is None else CrossEntropy()
    if isinstance(loss, str):
        loss = by_name(loss)
    if isinstance(loss, type) or not callable(loss) or not isinstance(getattr(loss, "name", None), str):
        raise InvalidSpec(
            f"loss={loss!r} is not a loss: a loss is called with (outputs, targets), and has a `name` that stands for "
            "it in the identity of results. Write loss=CrossEntropy(), loss=SquaredLoss(), the name of one of them, or "
            "an instance of a small class of your own with `name` and `__call__`."
        )
    if num_classes is None and getattr(loss, "needs_classes", False):
        raise IncompatiblePair(
            f"loss={loss!r} needs class labels, and the labels are real numbers. Use loss=SquaredLoss(), or convert "
            "the labels with y.astype(int) if they are classes."
        )
    return loss


def _numeric(name: str, values: ArrayLike) -> NDArray[Any]:
    """`values` as an array of booleans, integers or floats with at least one finite entry, and no other."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:  # ragged nested lists, arrays on a device
        raise DataError(f"{name} is not an array ({error}). Give a rectangular array of numbers.") from error
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"{name} has type {array.dtype}: a network computes with real numbers, and this type has none, or not one "
            f"per entry. Convert it first, np.asarray({name}, dtype=float) say."
        )
    if array.ndim == 0 or array.size == 0:
        raise DataError(f"{name} is empty (shape {array.shape}): a task needs at least one sample. Give one per row.")
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        first = tuple(int(i) for i in np.unravel_index(np.argmin(finite), array.shape))
        index = ", ".join(map(str, first))
        raise DataError(
            f"{name} holds {np.count_nonzero(~finite)} values that are not finite, the first at {name}[{index}] = "
            f"{array[first]}: one such value turns every parameter that it reaches into NaN. Drop those samples, "
            "or replace the values."
        )
    return array


def _floats(first: tuple[str, NDArray[Any]], second: tuple[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both arrays copied to one floating type, at least two-dimensional, with equal shapes after the sample axis."""
    (name, a), (name_test, b) = first, second
    dtype = np.float64 if any(v.dtype.kind == "f" and v.dtype.itemsize >= 8 for v in (a, b)) else np.float32
    a, b = (np.array(v[:, None] if v.ndim == 1 else v, dtype=dtype, order="C") for v in (a, b))
    if a.shape[1:] != b.shape[1:]:
        raise DataError(
            f"One sample of {name} has shape {a.shape[1:]} and one of {name_test} has shape {b.shape[1:]}: the same "
            "model is applied to both. Reshape or crop one of them."
        )
    return a, b


def _check_labels(labels: NDArray[Any], labels_test: NDArray[Any], num_classes: int | None) -> int:
    """The number of classes, once every label is seen to be one of 0 … C−1."""
    for name, array in (("y", labels), ("y_test", labels_test)):
        if array.ndim != 1:
            raise DataError(
                f"{name} holds integers of shape {array.shape}: class labels are one integer per sample. Write "
                f"{name}.argmax(axis=1) if the rows are one-hot, or {name}.astype(float) if they are targets of a "
                "regression."
            )
    largest = max(int(labels.max()), int(labels_test.max()))
    if num_classes is None:
        num_classes, num_samples = largest + 1, len(labels) + len(labels_test)
        if num_classes > num_samples:
            raise DataError(
                f"The largest label is {largest}, which makes {num_classes} classes for {num_samples} samples: labels "
                "are indices 0 … C−1. Renumber them with np.unique(y, return_inverse=True), or, if there are that many "
                f"classes, write num_classes={num_classes}."
            )
    elif isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)):
        raise InvalidSpec(f"num_classes={num_classes!r} is not a whole number. Write num_classes=10, say.")
    for name, array in (("y", labels), ("y_test", labels_test)):
        wrong = (array < 0) | (array >= num_classes)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise DataError(
                f"{name} holds {np.count_nonzero(wrong)} labels outside 0 … {num_classes - 1}, the first at "
                f"{name}[{first}] = {array[first]}: a label is the index of one of the {num_classes} classes. Renumber "
                "the labels from 0, or give num_classes."
            )
    if num_classes < 2:
        raise InvalidSpec(
            "The labels make a single class: there is nothing to tell apart. Give num_classes=2 or more if the "
            "other classes do not occur in these samples."
        )
    return int(num_classes)
