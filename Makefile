PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help install dev demo smoke test test-all torture lint format results claims bench gpu cluster docs docs-pages clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "optbench needs Python 3.11 or newer; found %s. Try: make PYTHON=python3.12" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing optbench into $(VENV) (torch is large: a minute or two)"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.installed
	@$(PIP) install --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed  ## Install into .venv

dev: $(VENV)/.dev  ## Install with test and lint dependencies

demo: $(VENV)/.installed  ## Compare four optimizers on handwritten digits and print the table (minutes)
	$(BIN)/optbench run digits --results results/demo

smoke: $(VENV)/.installed  ## Run the smoke suite: tiny synthetic data, under 30 seconds
	$(BIN)/optbench run smoke --fresh

test: $(VENV)/.dev  ## Run the tests (under 10 minutes; JOBS=2 runs them in two processes)
	$(BIN)/python -m pytest -m 'not slow' -n $(or $(JOBS),0) --dist worksteal

test-all: $(VENV)/.dev  ## Run all tests, including slow ones
	$(BIN)/python -m pytest

torture: $(VENV)/.dev  ## Kill a running suite N times (default 50) and compare its records with an uninterrupted run
	$(BIN)/python tests/torture.py $(or $(N),50)

lint: $(VENV)/.dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

results: $(VENV)/.installed  ## Rerun all committed results (about 45 minutes; needs an idle machine and no uncommitted changes)
	@git diff --quiet HEAD -- . ':!results' || { echo "Commit or stash your changes first: committed results come from one revision."; exit 1; }
	$(BIN)/optbench run digits --seeds 5 --fresh
	$(BIN)/optbench run fashion_mnist --fresh
	$(BIN)/optbench run gradient_descent changing_objective which_batch_size which_initialisation \
		with_or_without_checkpointing with_or_without_clipping language tabular recommendation sparse_recommendation \
		time_series test_functions autoencoder tuned --threads 1 --fresh

claims: $(VENV)/.installed  ## Rerun the suites of the article's claims and write docs/claims.md (an hour; needs an idle machine)
	@git diff --quiet HEAD -- . ':!results' || { echo "Commit or stash your changes first: committed results come from one revision."; exit 1; }
	$(BIN)/optbench run claims --threads 1 --fresh
	$(BIN)/python docs/generate.py claims
	$(BIN)/python docs/generate.py

bench: $(VENV)/.dev  ## Benchmark optbench against plain training loops and write results/bench/ (an hour; needs an idle machine)
	$(BIN)/python -m benchmarks

$(VENV)/.docs: pyproject.toml $(VENV)/.installed
	@$(PIP) install --editable '.[docs]'
	@touch $@

docs: $(VENV)/.docs  ## Build the documentation in site/, with figures from results/
	$(BIN)/python docs/generate.py figures
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-pages: $(VENV)/.installed  ## Regenerate the generated pages of docs/: suite reference, commands, outputs
	$(BIN)/python docs/generate.py

gpu: $(VENV)/.dev  ## On an NVIDIA GPU: run benchmarks, write results/bench/gpu.json and gpu.md, and run GPU tests (under 10 minutes)
	$(BIN)/python -m benchmarks.gpu
	$(BIN)/python -m pytest tests/gpu -rs

cluster: $(VENV)/.dev  ## Run the cluster tests: on a Ray cluster (with optbench[ray]) and on a SLURM cluster (as root, with Debian's slurmctld, slurmd, slurm-client, munge)
	$(BIN)/python -m pytest tests/cluster -rs

clean:  ## Remove the environment and all generated files (keeps results)
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis src/*.egg-info
	find docs/figures -mindepth 1 -maxdepth 1 ! -name claims -exec rm -rf {} +
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
