"""Figures of sweeps: what is drawn, and that gaps do no harm."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from consilience.plots import Curve, against, over_rounds, to_png, to_svg


def curve(samples: list[list[float]], label: str = "", x: tuple[float, ...] = (0.0, 10.0)) -> Curve:
    return Curve(label, np.array(x), np.array(samples))


def test_missing_realizations_are_left_out() -> None:
    one = curve([[1.0, 3.0], [5.0, np.nan]])
    np.testing.assert_array_equal(one.mean, [2.0, 5.0])
    np.testing.assert_array_equal(one.spread, [np.sqrt(2.0), 0.0])


def test_a_point_without_realizations_is_a_gap() -> None:
    one = curve([[1.0, 3.0], [np.nan, np.nan]])
    assert np.isnan(one.mean[1])
    assert to_svg(against([one], x_label="x", y_label="y"))


@pytest.mark.parametrize(("values", "scale"), [([[1e-3], [1.0]], "log"), ([[0.5], [1.0]], "linear"),
                                               ([[-1.0], [1e3]], "linear")])  # fmt: skip
def test_positive_quantities_over_decades_are_logarithmic(values: list[list[float]], scale: str) -> None:
    assert against([curve(values)], x_label="x", y_label="y").axes[0].get_yscale() == scale


def test_legends_are_drawn_for_labelled_curves_only() -> None:
    alone = against([curve([[0.0], [1.0]])], x_label="x", y_label="y")
    assert alone.axes[0].get_legend() is None
    two = against([curve([[0.0], [1.0]], "a"), curve([[0.0], [2.0]], "b")], x_label="x", y_label="y")
    assert two.axes[0].get_legend() is not None
    many = against([curve([[0.0], [1.0]], str(k)) for k in range(6)], x_label="x", y_label="y")
    assert len(many.legends) == 1


def test_every_agent_has_a_line() -> None:
    figure = over_rounds([curve([[0.1], [0.2]])], [np.ones((2, 7))], y_label="accuracy")
    assert len(figure.axes[0].lines) == 7 + 1


def test_the_same_figure_is_the_same_file() -> None:
    def drawn() -> Figure:
        return against([curve([[0.0, 0.1], [1.0, 1.2]], "a")], x_label="x", y_label="y", is_coupling=True)

    assert to_svg(drawn()) == to_svg(drawn())
    assert to_png(drawn()) == to_png(drawn())
