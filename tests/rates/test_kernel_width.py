"""The empirical kernel of a network approaches the kernel of infinite width as width^(−1/2).

Each draw of the parameters is one observation of the relative Frobenius error ‖K − Θ‖/‖Θ‖ on 40 images. The null
hypothesis is a slope of −1/2 of its logarithm against that of the width; draws at different widths and seeds are
independent, so the least-squares slope has Student's interval.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.stats

from consilience import models, tasks
from consilience.theory.peer_to_peer.kernels.infinite_width import infinite_width_kernel
from consilience.theory.peer_to_peer.kernels.kernel import kernel

CONFIDENCE = 0.999
"""The share of correct programs that a single test of this file would pass with seeds drawn anew."""


def relative_errors(depth: int, activation: str, *, widths: list[int], num_seeds: int) -> np.ndarray:
    """Shape (widths, seeds)."""
    images = tasks.load("digits").train_inputs[:40]
    expected = infinite_width_kernel(depth, activation)(images)
    errors = np.empty((len(widths), num_seeds))
    for k, width in enumerate(widths):
        model = models.ntk_mlp(depth, width, activation=activation)
        shapes = models.parameter_shapes(model, images.shape[1:], 1)
        for seed in range(num_seeds):
            random = np.random.default_rng([width, seed])
            params = jax.tree.map(lambda leaf: random.normal(size=leaf.shape), shapes)  # noqa: B023
            errors[k, seed] = np.linalg.norm(kernel(model, params, images)[:, 0, :, 0] - expected)
    return errors / np.linalg.norm(expected)


def slope_interval(widths: list[int], errors: np.ndarray) -> tuple[float, float, float]:
    """The slope of log error against log width, and its interval."""
    x = np.repeat(np.log(widths), errors.shape[1])
    fit = scipy.stats.linregress(x, np.log(errors).ravel())
    half = fit.stderr * scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(x) - 2)
    return fit.slope, fit.slope - half, fit.slope + half


def test_error_falls_as_one_over_the_root_of_the_width() -> None:
    widths = [64, 1024]
    _, low, high = slope_interval(widths, relative_errors(1, "relu", widths=widths, num_seeds=16))
    assert -1 < low < -0.5 < high < 0  # neither 1/width nor a constant error is within


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("depth", [1, 2])
def test_error_up_to_width_4096(depth: int, activation: str) -> None:
    widths = [64, 128, 256, 512, 1024, 2048, 4096]
    errors = relative_errors(depth, activation, widths=widths, num_seeds=20)
    slope, low, high = slope_interval(widths, errors)
    constants = errors * np.sqrt(widths)[:, None]
    print(
        f"\ndepth {depth}, {activation}: slope {slope:.3f} [{low:.3f}, {high:.3f}], error · √width = "
        f"{constants.mean():.2f} ± {constants.std():.2f} over draws, means by width {constants.mean(axis=1).round(2)}"
    )
    assert -0.75 < low < -0.5 < high < -0.25
    # Means over 140 draws, with standard errors of 4 %; 20 % is five of them for other draws.
    stated = {(1, "relu"): 1.60, (1, "erf"): 0.77, (2, "relu"): 2.23, (2, "erf"): 1.37}[depth, activation]
    assert abs(constants.mean() / stated - 1) < 0.2
