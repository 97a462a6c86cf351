# Every step of CI is a target of this file. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := core/src/metallb_core controller/src/metallb_controller speaker/src/metallb_speaker

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.stamp: requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@for d in core controller speaker; do echo "$(CURDIR)/$$d/src"; done > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/metallb-dev.pth
	@touch $@

.PHONY: venv
venv: $(VENV)/.stamp ## make the development environment from the hashed lock file

.PHONY: lint
lint: venv ## ruff, formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: venv ## mypy --strict
	$(BIN)/mypy $(PACKAGES)

.PHONY: unit
unit: venv ## unit, property and golden tests; no root, no cluster
	$(BIN)/pytest -q -m "not netns and not apiserver and not lab and not slow"
