"""What importing costs, what packages export, and which way imports point."""

import dataclasses
import importlib
import inspect
import json
import pkgutil
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import consilience

HEAVY = (
    "jax",
    "equinox",
    "optax",
    "matplotlib",
    "typer",
    "rich",
    "zarr",
    "sklearn",
    "xarray",
    "networkx",
    "scipy",
    "pooch",
)
PACKAGES = [
    name
    for _, name, is_package in pkgutil.iter_modules(consilience.__path__, "consilience.")
    if is_package and name not in ("consilience.cli", "consilience.dashboard")  # for people, not for programs
]

# Functions whose use is not shown in an example of their own: what the package itself calls between its layers, and
# helpers that the source of every catalogued method shows.
WITHOUT_EXAMPLE = {
    "algorithms": {"check_pair", "contexts", "deliver", "descend", "local_sgd", "regularised"},
    "experiments": {"load_stored"},  # in the example of run_sweep
    "models": {"as_model", "make", "parameter_shapes", "softmax_regression"},
    "observables": {"check_observables"},
    "simulation": {
        "Ensemble", "ParamsAccessor", "describe_result", "flatten_params", "make_ensemble", "precision",
        "resolve_experiment", "run_ensemble", "to_dataset", "use_compilation_cache",
    },
    "tasks": {"by_class"},  # in the example of Shards
}  # fmt: skip


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a statement loads in a new interpreter."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    code = f"{statement}\n{report}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_is_light() -> None:
    assert loaded_by("import consilience").isdisjoint({*HEAVY, "numpy", "pandas"})


def test_help_needs_no_jax() -> None:
    statement = """
import sys
from consilience.cli.main import run
try:
    run(["--help"])
except SystemExit as end:
    assert end.code == 0
"""
    assert loaded_by(statement).isdisjoint({"jax", "equinox", "matplotlib", "zarr", "sklearn", "xarray", "networkx"})


def test_graphs_tasks_and_store_need_no_jax() -> None:
    statement = "import consilience.graphs, consilience.tasks, consilience.store, consilience.plots"
    assert loaded_by(statement).isdisjoint({"jax", "equinox", "sklearn", "typer"})


def public_names(package: types.ModuleType) -> set[str]:
    """Names without an underscore that stand for something of this package: no modules, and nothing from elsewhere."""

    def is_own(value: Any) -> bool:
        home = getattr(value, "__module__", package.__name__)
        return home.startswith(package.__name__) and not isinstance(value, types.ModuleType)

    annotations = importlib.import_module("__future__").annotations
    return {n for n, value in vars(package).items() if n[0] != "_" and is_own(value) and value is not annotations}


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_are_exported_and_exist(name: str) -> None:
    package = importlib.import_module(name)
    exported = package.__all__
    assert len(set(exported)) == len(exported)
    missing = [each for each in exported if not hasattr(package, each)]
    assert not missing
    modules = {each for each in exported if isinstance(getattr(package, each), types.ModuleType)}
    aliases = {each for each in exported if getattr(getattr(package, each), "__module__", None) == "typing"}
    assert public_names(package) | modules | aliases == set(exported)


def test_the_package_itself() -> None:
    assert set(dir(consilience)) == {*consilience.__all__, "__version__"}
    for name in consilience.__all__:
        assert getattr(consilience, name) is not None
    packages = {name.partition(".")[2] for name in PACKAGES}
    assert packages < set(consilience.__all__)
    with pytest.raises(AttributeError, match="'consilience' has no attribute 'simulat'"):
        _ = consilience.simulat


def needs_example(value: Any) -> bool:
    """Functions, and classes that are made by hand: no records, exceptions or interfaces."""
    if inspect.isfunction(value):
        return True
    return (
        inspect.isclass(value)
        and value.__module__.startswith("consilience")
        and not dataclasses.is_dataclass(value)
        and not issubclass(value, BaseException)
        and not getattr(value, "_is_protocol", False)
    )


@pytest.mark.parametrize("name", PACKAGES)
def test_everything_public_is_documented(name: str) -> None:
    package = importlib.import_module(name)
    things = {each: getattr(package, each) for each in package.__all__}
    own = {each: value for each, value in things.items() if inspect.isfunction(value) or inspect.isclass(value)}
    undocumented = [
        each for each, value in own.items() if value.__module__.startswith("consilience") and not inspect.getdoc(value)
    ]
    assert not undocumented
    without = {
        each for each, value in own.items() if needs_example(value) and ">>> " not in (inspect.getdoc(value) or "")
    }
    assert without == WITHOUT_EXAMPLE.get(name.partition(".")[2], set())


def test_imports_point_down() -> None:
    executable = shutil.which("lint-imports", path=str(Path(sys.executable).parent)) or shutil.which("lint-imports")
    if executable is None:
        pytest.skip("lint-imports is not installed; `make lint` installs and runs it")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([executable, "--no-cache"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
