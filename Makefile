# Everything runs in .venv, which each target makes if it is missing or older than pyproject.toml.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TO_RUN := $(VENV)/.installed-to-run
TO_TEST := $(VENV)/.installed-to-test
PYTHONS ?= 3.10 3.11 3.12 3.13

.PHONY: setup demo test test-slow lint bench resolve clean

setup: $(TO_TEST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "error: Python 3.10 or newer is required. Received: $$($(PYTHON) --version). Set it with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(TO_RUN): pyproject.toml | $(BIN)/python
	@echo "Installing what running needs into $(VENV): one to five minutes, 3.5 GB of disk, of which TensorFlow is 1.9 GB."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(TO_TEST): pyproject.toml | $(BIN)/python
	@echo "Installing what running and testing need into $(VENV): two to six minutes, 4.1 GB of disk, of which TensorFlow is 1.9 GB."
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(TO_RUN)

demo: $(TO_RUN)
	$(BIN)/casme-tf demo

test: $(TO_TEST)
	$(BIN)/python -m pytest

# What `make test` leaves out, since it repeats at length what others show: six minutes.
test-slow: $(TO_TEST)
	$(BIN)/python -m pytest -m slow

bench: $(TO_TEST)
	$(BIN)/python scripts/benchmarks/benchmark.py

lint: $(TO_TEST)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Whether the dependencies go together on each Python that is declared; installs nothing.
resolve: $(TO_TEST)
	@for version in $(PYTHONS); do \
		$(BIN)/uv pip compile --quiet --python-version $$version --extra dev pyproject.toml \
			--output-file $(VENV)/resolved-$$version.txt || exit 1; \
		echo "Python $$version: $$(grep -c == $(VENV)/resolved-$$version.txt) packages go together"; \
	done

clean:
	rm -rf $(VENV) build dist
