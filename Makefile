# make run      the whole chain on this machine (about ten minutes the first time)
# make test     the test suite                make lint    style, layers and types
# make serve    the released model behind an OpenAI-compatible API and a chat page
# make up       Prefect, MLflow, a worker and the deployments

PYTHON ?= python3
PRESET ?= poet
BIN := .venv/bin

.PHONY: run plan test lint serve up
.DELETE_ON_ERROR:

run: .venv/installed
	$(BIN)/fullchain run $(PRESET)

plan: .venv/installed
	$(BIN)/fullchain plan $(PRESET)

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m mypy

serve: .venv/installed
	$(BIN)/fullchain serve models:/$(PRESET)@champion

up: .venv/installed
	$(BIN)/fullchain up

# Installs again when the lock or the project's own description changed.
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@
