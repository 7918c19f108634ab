# `make demo` and `make test` need Python 3.11 or newer and make; they install the rest into .venv.
.DEFAULT_GOAL := help
.PHONY: help install demo test docs soak plan coverage lint types clean

works = $(shell $(1) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' \
	>/dev/null 2>&1 && echo $(1))
PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3.13 python3,$(call works,$(name))))
# For example: make test TESTS=tests/ops
TESTS ?= tests
# The versions to install: constraints.txt, constraints-oldest.txt, or constraints-newest.txt (from
# Python 3.12 on). For example: make test CONSTRAINTS=constraints-oldest.txt VENV=.venv-oldest
CONSTRAINTS ?= constraints.txt
VENV ?= .venv
RUN := $(VENV)/bin/python
# One process per core, since most of the time is compilation, which has one thread. In the order of
# the folders: by number of tests, the few long ones of tests/cli and tests/training would run last.
PYTEST := $(RUN) -m pytest -n 2 --durations=15 --dist loadfile --no-loadscope-reorder
# Named after the versions, so that choosing others installs them.
INSTALLED := $(VENV)/.installed-$(notdir $(CONSTRAINTS))

# Compiled programs are cached here; by default commands keep them in ~/.cache/mnc_jax/compiled.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/.jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 1

help:
	@echo "make install  create $(VENV) with the library and its dependencies"
	@echo "make demo     predict with the shipped weights, train from scratch on drawn shapes, evaluate"
	@echo "make test     lint, then all tests"
	@echo "make docs     the pages of docs/ into build/docs; a warning is an error"
	@echo "make soak     the long tests: kills, mutated inputs, first steps, kinds of files (see docs/reliability.md; about 75 minutes)"
	@echo "make plan     the training step compiled for TPUs that need not be there: memory, loops, exchange"
	@echo "              (2 GB in .venv-plan, then 2 minutes; SMALL=1: a tiny model)"
	@echo "make coverage all tests, and the share of mnc_jax/ that they run"
	@echo "make types    type check only (pyright)"
	@echo "make lint     lint only"
	@echo "Other versions: CONSTRAINTS=constraints-oldest.txt or constraints-newest.txt after any of them"
	@echo "make clean    remove $(VENV), caches and demo"

install: $(INSTALLED)

# Large pages for the memory of a training step: a sixth less time (docs/performance.md; glibc only).
demo: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
demo: $(INSTALLED)
	@$(RUN) experiments/demo.py

test: lint
	@JAX_PLATFORMS=cpu $(PYTEST) $(TESTS)

docs: $(INSTALLED)
	@JAX_PLATFORMS=cpu $(RUN) -m sphinx -q -W --keep-going docs build/docs && echo "build/docs/index.html"

soak: export PYTHONPATH := $(CURDIR):$(CURDIR)/tests
soak: export JAX_PLATFORMS := cpu
soak: $(INSTALLED)
	@$(RUN) tests/soak/kills.py --kills 100
	@$(RUN) tests/soak/kills.py --kills 20 --signal term
	@$(RUN) tests/mutations/run.py --inputs 5000
	@$(RUN) tests/soak/documented_starts.py
	@$(RUN) tests/file_kinds/run.py --train

# libtpu compiles without a TPU. An environment of its own: installed beside the others, it would
# make JAX look for TPUs in every process.
PLAN := .venv-plan/bin/python
PLAN_INSTALLED := .venv-plan/.installed-$(notdir $(CONSTRAINTS))

plan: $(PLAN_INSTALLED)
	@$(PLAN) -m benchmarks.check_plan $(if $(SMALL),--small)

$(PLAN_INSTALLED): $(CONSTRAINTS)
	@echo "Installing jax[tpu] into .venv-plan: a few minutes the first time."
	@$(PLAN) -c "" 2>/dev/null || "$(PYTHON)" -m venv --clear .venv-plan
	@$(PLAN) -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) "jax[tpu]" flax optax chex
	@rm -f .venv-plan/.installed* && touch $@

# Fails below `fail_under` of setup.cfg; it takes longer than `make test`.
coverage: lint
	@JAX_PLATFORMS=cpu $(PYTEST) --cov --cov-report=term $(TESTS)

lint: $(INSTALLED)
	@$(RUN) -m ruff check --quiet . && echo "ruff: no complaints"
	@$(VENV)/bin/lint-imports --no-cache setup.cfg >/dev/null || $(VENV)/bin/lint-imports --no-cache setup.cfg

types: $(INSTALLED)
	@$(VENV)/bin/pyright --pythonpath $(RUN)

$(INSTALLED): setup.cfg pyproject.toml $(CONSTRAINTS)
	@test -n "$(PYTHON)" || { echo "mnc_jax needs Python 3.11 or newer with its venv module; python3.12, \
	python3.11, python3.13 and python3 are not: install one, or name it: make PYTHON=/path/to/python" \
	>&2; exit 1; }
	@echo "Installing mnc_jax and its dependencies into $(VENV): a few minutes the first time."
	@$(RUN) -c "" 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e ".[dev,docs]"
	@rm -f $(VENV)/.installed* && touch $@

clean:
	rm -rf $(VENV) docs/copies .venv-plan .jax_cache .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* build demo mnc_jax.egg-info
