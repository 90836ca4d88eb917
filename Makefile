# Everything a fresh clone needs. `make train` and `make test` set themselves up; nothing is installed outside .venv.
#
# On Linux, PyPI's torch brings gigabytes of CUDA libraries. Without a GPU, this takes the small build instead:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make train

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install train test setup lint docs dist clean

help:
	@echo "make install set up what training needs"
	@echo "make train   set up, then train PPO on HalfCheetah-v5 with 5 seeds"
	@echo "make test    set up, then run the tests"
	@echo "make lint    set up, then ruff and mypy"
	@echo "make docs    set up, then build the site of docs/ into site/"
	@echo "make dist    set up, then build what is uploaded to a package index into dist/"
	@echo "make clean   remove $(VENV) and caches; runs/ stays"

install: $(VENV)/.core

train: $(VENV)/.core
	$(BIN)/python -m rlsparse.train --env HalfCheetah --num-seeds 5

# Two processes on two cores: more threads would wait for each other.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

setup: $(VENV)/.dev

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "$(BIN)/python -m http.server --directory site   # then open http://localhost:8000"

dist: setup
	rm -rf dist
	$(PIP_INSTALL) twine
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

# torch comes first and alone: a build that is already at hand is kept, instead of being resolved with the rest.
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP_INSTALL) --editable ".[dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(PIP_INSTALL) --editable ".[docs]"
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "rlsparse needs Python 3.11 or newer: there is no $(PYTHON) here"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "rlsparse needs Python 3.11 or newer, $(PYTHON) is older: name one with make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache dist site
