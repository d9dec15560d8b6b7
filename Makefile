PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types arch unit sandbox clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[df,sandbox]' --group test --group lint
	touch $@

setup: $(VENV)/.ready ## Make .venv with everything

demo: setup ## Train models with the real SDK on the embedded sandbox, sync them, ask
	$(BIN)/python demo/run.py $(ARGS)

test: lint types arch unit ## All that must pass: lint, types, layers, tests

lint: setup ## Style
	$(BIN)/ruff check wbsync tests demo
	$(BIN)/python -m compileall -q wbsync

types: setup ## Types
	$(BIN)/mypy wbsync

arch: setup ## Which way imports may run
	$(BIN)/lint-imports

unit: setup ## Tests; ARGS="-k name" for some
	$(BIN)/python -m pytest -q -n 2 $(ARGS)

sandbox: setup ## Serve a W&B-compatible server on a free port
	$(BIN)/wbsync sandbox serve --data .sandbox $(ARGS)

clean: ## Remove what the other targets made
	rm -rf $(VENV) .sandbox demo/warehouse demo/sandbox
