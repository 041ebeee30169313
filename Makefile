# vivavoce: `make run` shows the main job, `make test` runs everything that CI runs.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run check test lock generate clean

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do command -v $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "vivavoce needs Python 3.11 or later on PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "vivavoce needs Python 3.11 or later; found $$($(PYTHON) -V). Name another one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.run-installed: requirements/run.lock pyproject.toml | .venv/bin/python
	$(PIP) install --require-hashes -r requirements/run.lock
	$(PIP) install --require-hashes -r requirements/build.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev-installed: requirements/dev.lock .venv/.run-installed
	$(PIP) install --require-hashes -r requirements/dev.lock
	@touch $@

setup: .venv/.run-installed  ## create .venv, install what the product needs, fetch the models
	@$(BIN)/vivavoce models pull --if-missing

setup-dev: setup .venv/.dev-installed  ## setup, and what tests and checks need

run: setup  ## the main job on real recorded voices
	@$(BIN)/vivavoce demo

check: setup-dev  ## format, lint, types, import contracts, generated files current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m vivavoce.api.description.generate --check
	$(BIN)/pyright

test: check  ## everything that CI runs
	$(BIN)/pytest --numprocesses=2 --dist=loadfile

lock: setup-dev  ## resolve the newest versions of all dependencies into requirements/*.lock
	$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements/run.lock
	$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml --group dev -c requirements/run.lock -o requirements/dev.lock
	$(BIN)/uv pip compile -q -U --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --group build -c requirements/dev.lock -o requirements/build.lock

generate: setup-dev  ## regenerate what is derived from the service description
	$(BIN)/python -m vivavoce.api.description.generate

clean:  ## remove the environment and caches
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
