"""What a linearisation is made from, and what is refused."""

import jax
import numpy as np
import pytest

from consilience import graphs, models
from consilience.errors import DataError, IncompatiblePair, InvalidSpec, UnknownName
from consilience.theory import peer_to_peer
from consilience.theory.peer_to_peer.arguments import check_mixing, learning_data, mixing_by_round
from consilience.theory.peer_to_peer.coordinates import coordinates

MODEL = models.ntk_mlp(depth=1, width=32)
RNG = np.random.default_rng(0)
INPUTS, TARGETS = RNG.normal(size=(3, 4, 5)), RNG.normal(size=(3, 4, 2))


def params(seed: int = 0):
    return MODEL.init(jax.random.key(seed), (5,), 2)


def offsets(size: float):
    return jax.tree.map(lambda leaf: size * RNG.normal(size=(3, *leaf.shape)), params())


def test_the_gram_matrix_borders_the_kernel_with_the_directions() -> None:
    moved = offsets(1e-3)
    network = peer_to_peer.linearize(MODEL, params(), INPUTS, TARGETS, offsets=moved)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params())
        tree = jax.jacrev(lambda p: MODEL.apply(p, INPUTS.reshape(12, 5)))(double)
        jacobian = np.concatenate([np.asarray(leaf).reshape(24, -1) for leaf in jax.tree.leaves(tree)], axis=1)
        first = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(double)])
        rest = np.concatenate([np.reshape(leaf, (3, -1)) for leaf in jax.tree.leaves(moved)], axis=1)
    units = np.concatenate([first[None], rest])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    border = np.concatenate([jacobian, units])
    np.testing.assert_allclose(network.inner, border @ border.T, atol=1e-11)  # sums of 250 products of size 1
    np.testing.assert_allclose(network.start[:, 1:], np.diag(np.linalg.norm(rest, axis=1)), rtol=1e-12)
    assert (network.num_agents, network.num_rows, network.rows_per_sample) == (3, 24, 2)


def test_unequal_shards_have_rows_of_their_own() -> None:
    shards = [INPUTS[0], INPUTS[1][:2], INPUTS[2][:1]]
    network = peer_to_peer.linearize(MODEL, params(), shards, [TARGETS[0], TARGETS[1][:2], TARGETS[2][:1]])
    assert network.shards == (slice(0, 8), slice(8, 12), slice(12, 14))
    np.testing.assert_array_equal(network.targets[8:12, 0], TARGETS[1][:2].ravel())


def test_all_outputs_share_the_kernel_of_infinite_width() -> None:
    kernel = peer_to_peer.infinite_width_kernel(1, "relu", 2.0, 0.1)
    network = peer_to_peer.linearize(kernel, None, INPUTS, TARGETS, test_inputs=INPUTS[0], test_targets=TARGETS[0])
    assert (network.kernel.shape, network.targets.shape) == ((12, 12), (12, 2))
    np.testing.assert_allclose(network.test_kernel[:4, :4], network.kernel[:4, :4], atol=1e-12)
    with pytest.raises(InvalidSpec, match="params=None"):
        peer_to_peer.linearize(kernel, params(), INPUTS, TARGETS)


def test_independent_initialisations_are_refused_with_the_reason() -> None:
    several = jax.tree.map(lambda *leaves: np.stack(leaves), *[params(seed) for seed in range(3)])
    with pytest.raises(InvalidSpec, match="60–90 %"):
        peer_to_peer.linearize(MODEL, several, INPUTS, TARGETS)
    far = jax.tree.map(lambda leaf, start: leaf - np.asarray(start), several, params())
    with pytest.raises(InvalidSpec, match="starts so far"):
        peer_to_peer.linearize(MODEL, params(), INPUTS, TARGETS, offsets=far)
    with pytest.raises(InvalidSpec, match="leading axis of agents"):
        peer_to_peer.linearize(MODEL, params(), INPUTS, TARGETS, offsets=params())


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (INPUTS, TARGETS[:2], "data of 3 agents"),
        (INPUTS, TARGETS[..., 0], "single output"),
        (INPUTS, TARGETS[:, :3], "every input needs its target"),
        (INPUTS, np.full_like(TARGETS, np.nan), "not finite"),
        ([INPUTS[0], INPUTS[1][:, :4], INPUTS[2]], TARGETS, "same network sees both"),
        ([INPUTS[0], INPUTS[1][:0]], [TARGETS[0], TARGETS[1][:0]], "agents without data"),
        ([], [], "data of each agent"),
        (INPUTS, TARGETS.astype(str), "real numbers"),
    ],
)
def test_data_that_cannot_be_is_refused(inputs, targets, message: str) -> None:
    with pytest.raises(DataError, match=message):
        peer_to_peer.linearize(MODEL, params(), inputs, targets)


def test_a_test_set_has_inputs_and_targets() -> None:
    with pytest.raises(InvalidSpec, match="test_inputs was given without test_targets"):
        learning_data(INPUTS, TARGETS, test_inputs=INPUTS[0])
    with pytest.raises(DataError, match="of the test set"):
        learning_data(INPUTS, TARGETS, INPUTS[0], TARGETS[0][:, :1])


def test_kernels_that_do_not_fit_say_what_would() -> None:
    with pytest.raises(InvalidSpec, match="would fit"):
        peer_to_peer.linearize(MODEL, params(), INPUTS, TARGETS, max_memory=2000)


def test_outputs_that_do_not_match_the_targets() -> None:
    with pytest.raises(IncompatiblePair, match="targets have 1 components"):
        peer_to_peer.linearize(MODEL, params(), INPUTS, TARGETS[..., :1])


def test_mixing_matrices_are_checked() -> None:
    with pytest.raises(InvalidSpec, match="sum to one"):
        check_mixing(np.full((3, 3), 0.5), 3)
    with pytest.raises(IncompatiblePair, match="is for 4 agents"):
        check_mixing(graphs.uniform(4), 3)
    with pytest.raises(IncompatiblePair, match="changes with the round"):
        check_mixing(lambda round: np.eye(3), 3)
    table = graphs.Periodic(np.stack([np.eye(3), graphs.metropolis(graphs.path(3)).weights]))
    np.testing.assert_array_equal(mixing_by_round(table, 3)(1), graphs.metropolis(graphs.path(3)).weights)


def test_names_and_numbers_are_checked() -> None:
    def predict(**changes):
        arguments = {"algorithm": "dgd", "learning_rate": 0.1, "num_rounds": 2, **changes}
        peer_to_peer.predict(MODEL, params(), INPUTS, TARGETS, graphs.uniform(3), **arguments)

    with pytest.raises(UnknownName, match="Did you mean 'cta' or 'atc'"):
        predict(algorithm="act")
    with pytest.raises(UnknownName, match="rounds"):
        predict(time="round")
    with pytest.raises(UnknownName, match="outputs"):
        predict(keep=("output",))
    with pytest.raises(InvalidSpec, match="learning_rate=0"):
        predict(learning_rate=0)
    with pytest.raises(InvalidSpec, match="num_rounds=-1"):
        predict(num_rounds=-1)


def test_coordinates_keep_outputs_and_distances() -> None:
    network = peer_to_peer.linearize(
        MODEL, params(), INPUTS, TARGETS, test_inputs=INPUTS[0] + 1, test_targets=TARGETS[0]
    )
    coords = coordinates(network)
    assert coords.rank == 24, "the kernel of 24 rows and 250 parameters is of full rank"
    # Rounding 1e-16, amplified by the condition of the kernel.
    np.testing.assert_allclose(coords.features @ coords.features.T, network.kernel, atol=1e-12)
    np.testing.assert_allclose(coords.test_features @ coords.features.T, network.test_kernel[:, :24], atol=1e-9)
    assert not coords.origin.any()
    assert coordinates(network, weight_decay=0.1).rank == 25


def test_where_the_kernel_does_not_fit_products_with_the_jacobian_take_its_place() -> None:
    def predict(**changes):
        arguments = {"learning_rate": 0.1, "num_rounds": 4, "max_memory": 2000, **changes}
        return peer_to_peer.predict(MODEL, params(), INPUTS, TARGETS, graphs.uniform(3), **arguments)

    found, exact = predict(record_every=2), predict(record_every=2, max_memory=8e9)
    assert "matrix-free" in found.attrs["method"]
    np.testing.assert_allclose(found.objective, exact.objective, rtol=1e-5)  # parameters are in single precision
    with pytest.raises(InvalidSpec, match='keep="coefficients" needs the kernel'):
        predict(keep="coefficients")
    with pytest.raises(InvalidSpec, match='time="flow" needs the kernel'):
        predict(time="flow")
