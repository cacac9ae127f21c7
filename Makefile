# The only entry points, for people and for CI. `make demo` and `make test` need Python 3.11+ and make, nothing else.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
JOBS   ?= 2

.PHONY: demo test test-slow lint bench bench-peers bench-gpu docs clean

demo: $(VENV)/.installed
	$(BIN)/consilience reproduce figure-3 --quick --output figures --store results

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-slow: $(VENV)/.installed-ray
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

docs: $(VENV)/.installed-docs
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx -W --keep-going --quiet -d build/doctrees docs build/docs
	$(BIN)/python -m pytest tests/interface/test_documentation.py tests/interface/test_conventions.py

bench: $(VENV)/.installed-bench $(VENV)-torch/.installed
	$(BIN)/python benchmarks/throughput.py --torch-python $(VENV)-torch/bin/python
	$(BIN)/python benchmarks/landau.py
	$(BIN)/python benchmarks/peer_to_peer.py
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/methods.py
	$(BIN)/python benchmarks/single_messages.py
	$(BIN)/python benchmarks/past_one_machine.py
	$(BIN)/python benchmarks/runtime_model.py
	$(BIN)/python benchmarks/live_laboratory.py
	$(MAKE) bench-peers

bench-peers: $(VENV)/.installed
	$(BIN)/python benchmarks/peers/compare.py --environments $(VENV)-peers

bench-gpu: $(VENV)/.installed
	$(BIN)/python benchmarks/limits.py --device gpu

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}"'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed-test
	$(PIP) --editable '.[docs,test]'
	touch $@

$(VENV)/.installed-ray: $(VENV)/.installed-test
	$(PIP) --editable '.[test,ray]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(PIP) --editable '.[bench,dashboard]'
	touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(PIP) --editable '.[lint,test]'
	touch $@

$(VENV)-torch/.installed: benchmarks/requirements-torch.txt
	$(PYTHON) -m venv $(VENV)-torch
	$(VENV)-torch/bin/python -m pip --disable-pip-version-check install --quiet -r benchmarks/requirements-torch.txt
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-torch $(VENV)-peers
