# Everything runs in .venv; a fresh machine needs Python 3.11 or later and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test slow lint wheel docs bench install
.DEFAULT_GOAL := test

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,docs,hub,mazes,onnx,ray,tensorboard,tune,worlds,zoo]"
	touch $@

demo: install  ## A sparse task: TRPO alone finds nothing, TRPO with VIME solves it.
	$(BIN)/python demos/sparse_mountain_car.py

test: install  ## The fast tests, on two cores.
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: install  ## The learning tests; their numbers are in demos/results.
	$(BIN)/python -m pytest -n 2 -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd demos && ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache/demos *.py

wheel: install  ## The package builds, installs without the checkout, and its commands run.
	$(BIN)/python -m pytest tests/test_wheel.py -m ""

docs: install  ## The site, in docs/_build/html.
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

bench: install  ## Speed, as ratios; writes demos/results/bench.json.
	$(BIN)/python demos/bench.py
