"""Every point of a phase diagram against `sweep` called by hand, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from consilience import graphs
from consilience.errors import InvalidSpec, UnknownName
from consilience.theory import landau

# Shapes and depths are those of test_protocols.py, so that one session compiles them once.
SEEDS, N = 3, 6
COUPLINGS = [0.0, 0.5, 4.0]
SMALL: dict[str, Any] = {"num_agents": N, "num_realizations": SEEDS}


def by_hand(
    couplings: list[float],
    *,
    mean: float = 0.0,
    std: float = 2.0,
    num_agents: int = N,
    seed: int = 0,
    offset: float = 0.05,
    **options: Any,
) -> xr.Dataset:
    """The sweep of one point, with the draws of Appendix B."""
    delta = landau.gaussian_disorder(SEEDS, num_agents, mean=mean, std=std, seed=seed)
    start = landau.uniform_start(SEEDS, num_agents, offset=offset, seed=seed)
    return landau.sweep(delta, start, couplings=couplings, **{"depth": 1, **options})


def assert_same(point: xr.Dataset, swept: xr.Dataset) -> None:
    for name in ("magnetization", "loss", "outcome"):
        np.testing.assert_array_equal(point[name], swept[name])
        assert point[name].dims == swept[name].dims


CYCLE, STAR = graphs.cycle(N), graphs.star(4)
VARIED = {
    "weight_decay": ([1e-3, 0.5], "weight_decay"),
    "disorder_std": ([1.0, 3.0], "std"),
    "disorder_mean": ([0.0, 1.0], "mean"),
    "num_agents": ([N, 4], "num_agents"),
    "depth": ([2, 0], "depth"),
}


@pytest.mark.parametrize("control", VARIED)
def test_each_control_parameter_is_what_it_says(control: str) -> None:
    values, name = VARIED[control]
    rest: dict[str, Any] = {**SMALL}
    rest.pop(control, None)
    diagram = landau.phase_diagram({control: values, "coupling": COUPLINGS}, **rest)
    assert diagram.magnetization.dims == (control, "coupling", "seed")
    assert diagram[control].values.tolist() == values
    for value in values:
        assert_same(diagram.sel({control: value}, drop=True), by_hand(COUPLINGS, **{name: value}))
    # The parameter does something.
    assert abs(diagram.magnetization[0] - diagram.magnetization[1]).max() > 1e-3


def test_graphs_bring_their_number_of_agents_and_their_names() -> None:
    diagram = landau.phase_diagram({"graph": [CYCLE, STAR], "coupling": COUPLINGS}, num_realizations=SEEDS)
    assert diagram.graph.values.tolist() == ["cycle(6)", "star(4)"]
    for graph in (CYCLE, STAR):
        swept = by_hand(COUPLINGS, graph=graph, num_agents=graph.num_agents)
        assert_same(diagram.sel(graph=graph.name, drop=True), swept)
    one = landau.phase_diagram({"coupling": COUPLINGS}, graph=CYCLE, num_realizations=SEEDS)
    assert_same(one, diagram.sel(graph="cycle(6)", drop=True))
    agreeing = landau.phase_diagram({"coupling": COUPLINGS}, graph=CYCLE, num_agents=N, num_realizations=SEEDS)
    xr.testing.assert_equal(agreeing, one)


def test_coupling_alone_and_without_coupling() -> None:
    alone = landau.phase_diagram({"coupling": COUPLINGS}, **SMALL)
    assert alone.magnetization.dims == ("coupling", "seed")
    assert_same(alone, by_hand(COUPLINGS))
    without = landau.phase_diagram({"weight_decay": [1e-3, 0.5]}, coupling=4.0, **SMALL)
    assert without.magnetization.dims == ("weight_decay", "seed")
    assert "coupling" not in without.dims
    np.testing.assert_array_equal(without.magnetization[0], alone.magnetization.sel(coupling=4.0))
    np.testing.assert_array_equal(
        without.magnetization[1], by_hand([4.0], weight_decay=0.5).magnetization.isel(coupling=0)
    )


def test_dimensions_are_in_the_order_of_over_for_three_of_them() -> None:
    diagram = landau.phase_diagram({"coupling": [0.5, 4.0], "depth": [1, 2], "disorder_mean": [0.0, 1.0]}, **SMALL)
    assert diagram.loss.dims == ("coupling", "depth", "disorder_mean", "seed")
    for depth in (1, 2):
        for mean in (0.0, 1.0):
            swept = by_hand([0.5, 4.0], depth=depth, mean=mean)
            assert_same(diagram.sel(depth=depth, disorder_mean=mean, drop=True), swept)


def test_several_protocols_and_the_area_between_the_adiabatic_ones() -> None:
    over = {"depth": [1, 0], "coupling": COUPLINGS}
    diagram = landau.phase_diagram(over, protocol=landau.PROTOCOLS, **SMALL)
    assert diagram.magnetization.dims == ("protocol", "depth", "coupling", "seed")
    for protocol in landau.PROTOCOLS:
        for depth in (1, 0):
            swept = by_hand(COUPLINGS, depth=depth, protocol=protocol)
            assert_same(diagram.sel(protocol=protocol, depth=depth, drop=True), swept)
    assert diagram.hysteresis_area.dims == ("depth", "seed")
    up, down = (diagram.magnetization.sel(protocol=f"adiabatic_{way}", depth=1) for way in ("up", "down"))
    expected = np.trapezoid(abs(down - up), COUPLINGS, axis=0)
    np.testing.assert_allclose(diagram.hysteresis_area.sel(depth=1), expected, rtol=1e-14)  # the same sums
    assert expected.max() > 0.1
    # A list of one keeps its dimension, a name does not, and one direction alone encloses no area.
    listed = landau.phase_diagram(over, protocol=["adiabatic_up"], **SMALL)
    named = landau.phase_diagram(over, protocol="adiabatic_up", **SMALL)
    assert listed.magnetization.dims == diagram.magnetization.dims
    assert "protocol" not in named.dims
    assert "hysteresis_area" not in named
    np.testing.assert_array_equal(listed.magnetization[0], named.magnetization)


def test_seed_offset_span_and_tolerances_are_passed_on() -> None:
    options: dict[str, Any] = {"span": 4.0, "rtol": 1e-6, "atol": 1e-8}
    diagram = landau.phase_diagram({"coupling": COUPLINGS}, seed=5, offset=0.7, **options, **SMALL)
    assert_same(diagram, by_hand(COUPLINGS, seed=5, offset=0.7, average_after=2.0, **options))
    later = landau.phase_diagram({"coupling": COUPLINGS}, average_after=3.0, **options, **SMALL)
    assert_same(later, by_hand(COUPLINGS, average_after=3.0, **options))


def test_points_share_their_draws() -> None:
    """At σ̂ = 0 and D = 0 agents rest at δ_i/(1 + γ̂): with doubled disorder all of them at twice as much."""
    diagram = landau.phase_diagram(
        {"disorder_std": [1.0, 2.0], "depth": [0]}, coupling=0.0, offset=0.0, rtol=1e-9, atol=1e-11, **SMALL
    )
    narrow, wide = diagram.magnetization.isel(depth=0)
    # What is left of the initial condition in the second half is at most 2e⁻⁵.
    np.testing.assert_allclose(wide, 2 * narrow, rtol=0, atol=0.03)


def test_coordinates_and_labels() -> None:
    diagram = landau.phase_diagram({"depth": [1], "coupling": COUPLINGS}, **SMALL)
    assert diagram.seed.values.tolist() == [0, 1, 2]
    assert diagram.coupling.values.tolist() == COUPLINGS
    assert (diagram.outcome == "completed").all()
    assert set(diagram.data_vars) == {"magnetization", "loss", "outcome"}
    assert "long_name" in diagram.magnetization.attrs


# ---- errors --------------------------------------------------------------------------------------------------------

CASES = [
    ({"over": {}}, InvalidSpec, "over={}", "Write over={'coupling': [0, 1]}"),
    ({"over": ["coupling"]}, InvalidSpec, "over=['coupling']", "Write over={'coupling': [0, 1]}"),
    ({"over": {"couplng": [1]}}, UnknownName, "'couplng' is not a control parameter", "Did you mean 'coupling'?"),
    ({"over": {"depth": 1}}, InvalidSpec, "over['depth']=1", "Write over={'depth': [...]}"),
    ({"over": {"graph": "cycle"}}, InvalidSpec, "over['graph']='cycle'", "Write over={'graph': [...]}"),
    ({"over": {"depth": []}}, InvalidSpec, "over['depth'] is empty", "at least one value"),
    ({"over": {"depth": [-1]}}, InvalidSpec, "depth=-1", "a whole number from 0"),
    ({"over": {"depth": [True]}}, InvalidSpec, "depth=True", "a whole number from 0"),
    ({"over": {"coupling": [1, 0]}}, InvalidSpec, "couplings=[1, 0]", "increasing"),
    ({"over": {"coupling": [-1]}}, InvalidSpec, "couplings holds -1.0", "from 0 up"),
    ({"over": {"weight_decay": [-1]}}, InvalidSpec, "weight_decay holds -1.0", "from 0 up"),
    ({"over": {"disorder_std": [np.nan]}}, InvalidSpec, "std holds nan", "finite numbers"),
    ({"over": {"num_agents": [2.5]}}, InvalidSpec, "num_agents=2.5", "a whole number from 1 up"),
    ({"over": {"num_agents": [0]}}, InvalidSpec, "num_agents=0", "a whole number from 1 up"),
    ({"over": {"graph": ["cycle"]}}, InvalidSpec, "'cycle' is not a graph", "cs.graphs.cycle(200)"),
    ({"over": {"graph": [None]}}, InvalidSpec, "None is not a graph", "cs.graphs.cycle(200)"),
    ({"graph": "cycle"}, InvalidSpec, "'cycle' is not a graph", "cs.graphs.cycle(200)"),
    ({"graph": CYCLE, "num_agents": 5}, InvalidSpec, "num_agents=[5] is given together with cycle(6)", "Leave num_ag"),
    ({"graph": CYCLE, "num_agents": 200}, InvalidSpec, "num_agents=[200] is given together", "Leave num_agents out"),
    ({"graph": CYCLE, "over": {"num_agents": [6, 7]}}, InvalidSpec, "num_agents=[6, 7]", "Leave num_agents out"),
    ({"num_realizations": 0}, InvalidSpec, "num_realizations=0", "a whole number from 1 up"),
    ({"seed": -1}, InvalidSpec, "seed=-1", "Write seed=0"),
    ({"average_after": 11.0}, InvalidSpec, "average_after=11.0", "Write average_after=5"),
    ({"protocol": "quenhc"}, UnknownName, "'quenhc' is not a protocol", "Did you mean 'quench'?"),
    ({"protocol": "quenhc", "over": {"depth": [1]}}, UnknownName, "'quenhc' is not", "Did you mean 'quench'?"),
    ({"protocol": ["quench", "up"]}, UnknownName, "'up' is not a protocol", "Known: quench, adiabatic_up"),
    ({"protocol": []}, InvalidSpec, "protocol=[]", "write one of quench, adiabatic_up, adiabatic_down"),
    ({"protocol": ["quench"] * 2}, InvalidSpec, "protocol=['quench', 'quench']", "each once"),
    ({"protocol": "adiabatic_up", "over": {"depth": [1]}}, InvalidSpec, "over=['depth'] does not vary it", "geomspace"),
]


@pytest.mark.parametrize(("wrong", "error", "seen", "advice"), CASES)
def test_bad_input_is_refused(wrong: dict[str, Any], error: type[Exception], seen: str, advice: str) -> None:
    over = wrong.get("over", {"coupling": COUPLINGS})
    rest: dict[str, Any] = {"num_realizations": 2} | {name: value for name, value in wrong.items() if name != "over"}
    if "graph" not in rest and "graph" not in over and "num_agents" not in over:
        rest["num_agents"] = 3
    with pytest.raises(error) as raised:
        landau.phase_diagram(over, **rest)
    message = str(raised.value)
    assert type(raised.value) is error
    assert seen in message
    assert advice in message
    assert "\n" not in message, "one paragraph"
