# `make demo` and `make test` need Python (3.11 or newer) and make; they install the rest in .venv.
.DEFAULT_GOAL := help
.PHONY: help install demo test soak lint clean

works = $(shell $(1) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $(1))
PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3,$(call works,$(name))))
# For example: make test TESTS=tests/ops
TESTS ?= tests
VENV := .venv
RUN := $(VENV)/bin/python

# What was compiled once is read from the disk the next time.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 1

help:
	@echo "make install  make $(VENV), with the library and what it needs"
	@echo "make demo     predict with the shipped weights, train from scratch on drawn shapes, evaluate"
	@echo "make test     lint, then all tests"
	@echo "make soak     the long tests: kills, mutated inputs (see docs/reliability.md; an hour)"
	@echo "make lint     lint only"
	@echo "make clean    remove what these made: $(VENV), caches, demo"

install: $(VENV)/.installed

demo: $(VENV)/.installed
	@$(RUN) experiments/demo.py

# One process a core: compilation, the larger part of the time, is single-threaded.
test: lint
	@JAX_PLATFORMS=cpu $(RUN) -m pytest -n 2 --dist loadfile $(TESTS)

soak: export PYTHONPATH := $(CURDIR):$(CURDIR)/tests:$(CURDIR)/experiments
soak: export JAX_PLATFORMS := cpu
soak: $(VENV)/.installed
	@$(RUN) tests/soak/kills.py --kills 100
	@$(RUN) tests/soak/kills.py --kills 20 --signal term

lint: $(VENV)/.installed
	@$(RUN) -m ruff check --quiet . && echo "ruff: no complaints"

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "mnc_jax needs Python 3.11 or newer with its venv module, and \
	found none as python3.12, python3.11 or python3: install it, or name it: make PYTHON=/path/to/python" \
	>&2; exit 1; }
	@echo "Installing mnc_jax and what it needs in $(VENV); a few minutes the first time."
	@$(RUN) -c "" 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf $(VENV) .jax_cache .pytest_cache .ruff_cache .hypothesis build demo mnc_jax.egg-info
