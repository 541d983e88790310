# Two commands: `make quickstart` shows it working, `make test` runs every check there is.
# Both set up their own .venv first. Variables: PYTHON3, LLMAGIC_CACHE, LLMAGIC_WHEELS.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON3 ?= python3
# Outside the checkout: what is here outlives `make clean` and `git clean`.
LLMAGIC_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/llmagic
LLMAGIC_WHEELS ?= $(LLMAGIC_CACHE)/wheels
export LLMAGIC_WHEELS

BIN := .venv/bin
READY := .venv/.ready
TOY := "$(LLMAGIC_CACHE)/toys"
WITH_TOY := $(BIN)/python scripts/with_toy.py $(TOY)
QUICKSTART := $(LLMAGIC_CACHE)/quickstart

.PHONY: help setup quickstart test test-slow lint types imports pytest wheel clean

help:
	@echo "make quickstart  run the first notebook headless and print the conversation"
	@echo "make test        style, types, imports, tests, notebooks: everything"
	@echo "make test-slow   the longer campaigns, too"
	@echo "make wheel       build the wheel into dist/"
	@echo "make clean       remove .venv and dist/ (the compiled llama-cpp-python is kept)"

setup: $(READY)

$(READY): pyproject.toml scripts/llama_wheel.py
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	    "llmagic needs Python 3.11 or newer, this is " + sys.version.split()[0] \
	    + ": make PYTHON3=/path/to/python3.11 ...")'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON3) -m venv --clear .venv
	wheel=$$($(BIN)/python scripts/llama_wheel.py) && \
	    $(BIN)/python -m pip install --quiet "$$wheel"
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

quickstart: setup
	@mkdir -p "$(QUICKSTART)"
	$(WITH_TOY) $(BIN)/jupyter-execute notebooks/01_quickstart.ipynb \
	    --output="$(QUICKSTART)/01_quickstart.ipynb"
	@$(BIN)/python scripts/show_conversation.py "$(QUICKSTART)/01_quickstart.ipynb"

test: lint types imports pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-logo

# One run, one closing line: the tests and every notebook cell against its stored output.
pytest: setup
	$(WITH_TOY) $(BIN)/python -m pytest -n 2 --dist loadfile --nbval tests notebooks

test-slow: setup
	$(WITH_TOY) $(BIN)/python -m pytest -m 'slow or not slow' tests

wheel: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

clean:
	rm -rf .venv dist
