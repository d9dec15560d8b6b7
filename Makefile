PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long lint types arch unit bench docs sandbox clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[df,sandbox,spark]' --group test --group lint
	touch $@

# DuckDB as BI tools carry it, each in an environment of its own: tests open the published file.
READERS := 1.1.3 1.4.0 2.0.0
$(VENV)/.readers: $(VENV)/.ready
	for version in $(READERS); do \
	  $(PYTHON) -m venv $(VENV)/readers/$$version && \
	  $(VENV)/readers/$$version/bin/python -m pip install -q --disable-pip-version-check \
	    duckdb==$$version || exit 1; \
	done
	touch $@

setup: $(VENV)/.ready $(VENV)/.readers ## Make .venv with everything

demo: $(VENV)/.ready ## Train models with the real SDK on the embedded sandbox, sync them, ask
	$(BIN)/python demo/run.py $(ARGS)

test: lint types arch unit ## All that must pass: lint, types, layers, tests

lint: $(VENV)/.ready ## Style
	$(BIN)/ruff check wbsync tests demo benchmarks docs
	$(BIN)/python -m compileall -q wbsync

types: $(VENV)/.ready ## Types
	$(BIN)/mypy wbsync

arch: $(VENV)/.ready ## Which way imports may run
	$(BIN)/lint-imports

# A module's tests share costly fixtures: they stay on one worker. The long ones come first.
WORKERS := -n 2 --dist loadscope --no-loadscope-reorder
unit: setup ## Tests; ARGS="-k name" for some
	$(BIN)/python -m pytest -q $(WORKERS) $(ARGS)

LONG := tests/property tests/integration/test_artifact_files.py
test-long: setup ## 100,000 random filters, random changes on every kind of server, killed pushes: hours
	WBSYNC_LONG=1 WBSYNC_TEST_BIG_BYTES=1073741824 $(BIN)/python -m pytest -q $(WORKERS) $(LONG) $(ARGS)

bench: $(VENV)/.ready ## Measure the budgets on the sandbox; ARGS="history" for some
	$(BIN)/python benchmarks/bench.py $(ARGS)

docs: $(VENV)/.ready ## Write docs/tables.md and docs/queries.md
	$(BIN)/python docs/generate.py

sandbox: $(VENV)/.ready ## Serve a W&B-compatible server on a free port
	$(BIN)/wbsync sandbox serve --data .sandbox $(ARGS)

clean: ## Remove what the other targets made
	rm -rf $(VENV) .sandbox demo/warehouse demo/sandbox
