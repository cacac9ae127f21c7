"""Equal experiments have equal ids, different ones different ids, and what has no identity is not stored."""

import dataclasses
import enum
import importlib.util
import math
import pathlib
import sys
import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import consilience as cs
from compiled import compiled_programs  # noqa: F401 (a fixture)
from consilience.experiments import NotStoredWarning, UnnamedPartError, describe, identity, resolve_sweep
from consilience.graphs import Bernoulli, Interpolated, Schedules, from_matrix
from consilience.simulation import Experiment
from consilience.store import Store

# Each part makes another run, be it of use or not.
ANY_PART = pytest.mark.filterwarnings("ignore::consilience.errors.MismatchWarning")
pytestmark = [pytest.mark.usefixtures("compiled_programs"), ANY_PART]

# The id of the experiment in the first test. If that fails, stored runs of users are no longer found: either undo what
# changed the description of an experiment, or raise SEMANTICS (the numbers changed) and say so in the CHANGELOG.
GOLDEN = "978094ce8d3327c19f4704778cd02580aad0bd8797c1eb03e917d79f22fcad11"


def run_id(*, algorithm: Any = tiny.ALGORITHM, over: Any = None, **changes: Any) -> str:
    sweep_arguments = {name: changes.pop(name) for name in ("protocol", "along", "seed", "title") if name in changes}
    found = resolve_sweep(
        algorithm, over=over or {"coupling": tiny.COUPLINGS, "seed": [1, 0]}, **sweep_arguments, **tiny.parts(**changes)
    ).run_id
    assert found is not None
    return found


def test_the_id_is_the_same_in_every_process_and_on_every_machine() -> None:
    # Numbers that are exact in binary, and no random ones.
    inputs, labels = np.arange(96.0).reshape(24, 4) / 8, np.tile(np.arange(3), 8)
    task = cs.tasks.from_arrays(inputs, labels, inputs[:6], labels[:6])
    layer = {"weight": np.arange(36.0).reshape(3, 3, 4) / 4, "bias": np.zeros((3, 3))}
    assert run_id(task=task, initial_params={"layer_0": layer}) == GOLDEN


EYE = from_matrix(np.eye(tiny.NUM_AGENTS), "eye")

# For each field of an experiment: arguments that change this field (and as few others as possible).
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "algorithm": ({}, {"algorithm": cs.algorithms.DiffusiveCoupling(learning_rate=0.06, weight_decay=1e-3)}),
    "model": ({}, {"model": cs.models.mlp(depth=0, initialiser="he")}),
    "task": ({}, {"task": tiny.task(shift=1e-9)}),
    "shards": ({}, {"shards": cs.tasks.by_class(tiny.task(), num_agents=tiny.NUM_AGENTS)[::-1]}),
    "graph": ({"mixing": EYE}, {"mixing": EYE, "graph": cs.graphs.path(tiny.NUM_AGENTS)}),
    "mixing": ({}, {"mixing": EYE}),
    "num_rounds": ({}, {"num_rounds": 11}),
    "batch_size": ({}, {"batch_size": None}),
    "observables": ({}, {"observe": ["loss", "accuracy"]}),
    "observe_every": ({}, {"observe_every": 4}),
    "average_after": ({}, {"average_after": 0}),
    "dtype": ({}, {"dtype": "float32"}),
    "initial_params": ({}, {"initial_params": tiny.initial_params(scale=1 + 1e-15)}),
    "common_init": ({}, {"common_init": True}),
    "schedules": ({}, {"schedules": Schedules(active=Bernoulli(0.5, tiny.NUM_AGENTS))}),
    "roles": ({}, {"roles": {0: "server"}}),
    "interventions": ({}, {"interventions": [cs.simulation.Restart(5)]}),
}


def test_every_field_of_an_experiment_is_tried() -> None:
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Experiment)}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_counts(field: str) -> None:
    before, after = CHANGES[field]
    assert run_id(**before) != run_id(**after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"over": {"coupling": [*tiny.COUPLINGS, 2.0], "seed": [1, 0]}}),
        ({}, {"over": {"coupling": tiny.COUPLINGS, "seed": [1, 2]}}),
        ({}, {"over": {"coupling": tiny.COUPLINGS}}),
        ({}, {"over": {"coupling": sorted(tiny.COUPLINGS), "seed": [1, 0]}}),
        ({"over": {"coupling": [0.0, 1.0]}}, {"over": {"coupling": [0.0, 1.0]}, "seed": 1}),
        ({"over": {"coupling": [0.0, 1.0]}}, {"over": {"learning_rate": [0.0, 1.0]}}),
        ({"protocol": "adiabatic_up"}, {"protocol": "adiabatic_down"}),
        ({"protocol": "adiabatic_up"}, {"protocol": "quench"}),
    ],
    ids=str,
)
def test_everything_of_a_sweep_counts(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert run_id(**before) != run_id(**after)


def test_the_followed_parameter_counts() -> None:
    over = {"coupling": [0.0, 1.0], "learning_rate": [0.01, 0.02]}
    ids = {run_id(over=over, protocol="adiabatic_up", along=along) for along in over}
    assert len(ids) == 2


def test_names_do_not_count() -> None:
    graph = cs.graphs.from_adjacency(cs.graphs.complete(tiny.NUM_AGENTS).adjacency, name="friends")
    same = {
        "title": run_id(title="my sweep"),
        "task": run_id(task=tiny.task(name="other points")),
        "graph": run_id(graph=graph),
        "three on a cycle": run_id(graph=cs.graphs.cycle(tiny.NUM_AGENTS)),
        "swept value": run_id(algorithm=cs.algorithms.DiffusiveCoupling(0.05, coupling=99.0, weight_decay=1e-3)),
        "unused seed": run_id(seed=7),
        "whole numbers": run_id(over={"coupling": [10, 0, 3, 1], "seed": range(1, -1, -1)}),
        "array": run_id(over={"coupling": np.array(tiny.COUPLINGS), "seed": np.array([1, 0])}),
        "jax": run_id(over={"coupling": jnp.array(tiny.COUPLINGS), "seed": [1, 0]}),
        "default": run_id(mixing=cs.graphs.metropolis),
    }
    assert same == dict.fromkeys(same, run_id())


def test_the_order_of_dictionaries_does_not_count() -> None:
    params = tiny.initial_params()
    backwards = {"layer_0": dict(reversed(params["layer_0"].items()))}
    assert run_id(initial_params=backwards) == run_id()
    assert identity({"b": [1, {"d": 1.5, "c": None}], "a": "x"}) == identity(
        {"a": "x", "b": [1, {"c": None, "d": 1.5}]}
    )
    assert len({identity(value) for value in (1, "1", [1], {"1": 1}, True, None, 1.5)}) == 7


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Settings:
    size: int
    name: str = "a"


def test_plain_values_are_described_as_they_are() -> None:
    values = {"a": (1, 2.5, None, True), "b": Colour.RED, "c": range(2), 3: np.float32(0.5), "d": np.bool_(True)}
    assert describe(values) == {"a": [1, 2.5, None, True], "b": "red", "c": [0, 1], "3": 0.5, "d": True}
    assert describe([math.inf, -math.inf, math.nan]) == ["inf", "-inf", "nan"]
    assert describe(np.array(3)) == 3
    assert describe(jnp.zeros(())) == 0.0


def test_arrays_count_by_content_shape_and_type() -> None:
    array = np.arange(6.0)
    assert describe(array) == describe(jax.device_get(array)) == describe(np.arange(12.0)[::2] / 2)
    others = [array.reshape(2, 3), array.astype(np.float32), array.astype(int), -array, array[:5], array[:0]]
    assert len({identity(describe(other)) for other in [array, *others]}) == 7
    assert describe(array.reshape(2, 3).T) == describe(np.ascontiguousarray(array.reshape(2, 3).T))
    with pytest.raises(UnnamedPartError, match="array of objects"):
        describe(np.array([object()]))


def test_dataclasses_count_by_class_and_fields() -> None:
    assert describe(Settings(1)) == describe(Settings(size=1, name="a"))
    assert describe(Settings(1)) != describe(Settings(2))
    assert describe(Settings(1))["class"].startswith(f"{__name__}.Settings#")  # name and source
    assert describe(cs.models.mlp(depth=2))["class"] == "consilience.models.mlp.MLP"


@dataclasses.dataclass(frozen=True)
class Grown:
    size: int = 1
    later: Any = dataclasses.field(default=0.5, metadata={"omit_default_from_identity": True})


def test_fields_that_came_later_count_only_if_they_are_not_at_their_default() -> None:
    assert set(describe(Grown())) == {"class", "size"}
    assert describe(Grown(later=0.25))["later"] == 0.25
    for unlike_the_default in (None, 0, (0.5,), np.array([0.5, 0.5])):
        assert describe(Grown(later=unlike_the_default)) != describe(Grown())


def test_a_schedule_of_the_coupling_counts_and_none_leaves_the_identity_as_it_was() -> None:
    assert set(describe(Schedules())) == {"class", "active", "edges", "mixing", "adjacency", "roles"}
    ramps = [Schedules(coupling=Interpolated((0, 10), (0.0, end))) for end in (1.0, 2.0)]
    assert describe(ramps[0])["coupling"]["values"] == [0.0, 1.0]
    assert len({run_id(), *(run_id(schedules=ramp) for ramp in ramps)}) == 3
    assert run_id(schedules=Schedules()) == run_id()
    assert run_id(schedules=Schedules(coupling=Interpolated([0, 10], np.array([0, 1])))) == run_id(schedules=ramps[0])


def test_adapters_count_by_the_name_that_they_are_given() -> None:
    def model(name: str | None, weight: float = 1.0) -> Any:
        return cs.models.from_functions(lambda key: {"w": jnp.full((2, 1), weight)}, lambda p, x: x @ p["w"], name=name)

    assert describe(model("linear")) == describe(model("linear", 2.0)) != describe(model("affine"))
    with pytest.raises(UnnamedPartError, match=r"from_functions\(init, apply, name='my model'\)"):
        describe(model(None))
    layers = [eqx.nn.Linear(2, 1, key=jax.random.key(seed)) for seed in (0, 0, 1)]
    first, same, other = [describe(cs.models.from_equinox(layer, name="layer")) for layer in layers]
    assert first == same != other
    with pytest.raises(UnnamedPartError, match=r"from_equinox\(module, name='my model'\)"):
        describe(cs.models.from_equinox(layers[0]))


def test_observables_count_by_name() -> None:
    spread = cs.observables.Observable("spread", ("agent",), lambda population: population.params["w"].std(axis=1))
    mine = cs.observables.Observable("accuracy", ("agent",), spread.measure)
    assert describe(cs.observables.OBSERVABLES["accuracy"]) == "accuracy"
    assert describe(spread) == {"observable": "spread", "dims": ["agent"]}
    assert describe(mine) != "accuracy"


METHOD = """
from consilience.algorithms import Algorithm

class Mine(Algorithm):
    learning_rate: float = 0.1

    def init(self, params, context):
        return params

    def emit(self, state, local, context):
        return state, state

    def absorb(self, state, inbox, local, context):
        return {step}

    def params(self, state):
        return state
"""


def load(path: pathlib.Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("my_methods", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["my_methods"] = module
    spec.loader.exec_module(module)
    return module


def test_a_method_of_ones_own_counts_by_its_source(tmp_path: pathlib.Path) -> None:
    ids = []
    try:
        for number, step in enumerate(["state", "inbox.mixed", "state"]):
            path = tmp_path / f"version_{number}.py"
            path.write_text(METHOD.replace("{step}", step))
            ids.append(run_id(algorithm=load(path).Mine(), over={"learning_rate": [0.1, 0.2]}))
        assert ids[0] == ids[2] != ids[1]
        module = types.ModuleType("my_methods")
        exec(METHOD.replace("{step}", "state"), vars(module))
        sys.modules["my_methods"] = module
        sweep = resolve_sweep(vars(module)["Mine"](), over={"learning_rate": [0.1]}, **tiny.parts())
        assert (sweep.spec, sweep.run_id) == (None, None)
        assert "source of my_methods.Mine is not available" in sweep.not_stored_because
    finally:
        del sys.modules["my_methods"]


@pytest.mark.parametrize("code", [len, lambda: 0, math, object()], ids=["builtin", "lambda", "module", "object"])
def test_code_has_no_identity(code: object) -> None:
    with pytest.raises(UnnamedPartError, match=r"cannot be compared from one session to the next.*name=") as error:
        describe({"a": [code]})
    assert "\n" not in str(error.value)


def test_an_experiment_without_identity_runs_and_is_not_stored(tmp_path: pathlib.Path) -> None:
    base = cs.models.mlp(depth=0)
    init = lambda key: base.init(key, (tiny.NUM_FEATURES,), tiny.NUM_AGENTS)  # noqa: E731
    arguments = {"over": {"coupling": tiny.COUPLINGS}, "store": tmp_path / "store"}
    with pytest.warns(NotStoredWarning, match="'unnamed functions' has no name") as caught:
        result = cs.sweep(tiny.ALGORITHM, **arguments, **tiny.parts(model=cs.models.from_functions(init, base.apply)))
    assert len(caught) == 1
    assert np.isfinite(result.accuracy).all()
    assert (result.attrs["run_id"], result.attrs["spec"]) == ("", {})
    assert not (tmp_path / "store").exists()
    named = cs.models.from_functions(init, base.apply, name="softmax")
    stored = cs.sweep(tiny.ALGORITHM, **arguments, **tiny.parts(model=named))
    np.testing.assert_array_equal(stored.accuracy, result.accuracy)
    assert [run.id for run in Store(tmp_path / "store").runs()] == [stored.attrs["run_id"]]
