# Every step of CI is a target of this file. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPONENTS := core controller speaker cli
PACKAGES := core/src/metallb_core controller/src/metallb_controller speaker/src/metallb_speaker cli/src/metallb_cli
HACK := hack/lab hack/images hack/generate hack/demo hack/bench hack/tiers hack/release hack/changelog hack/tools/build.py
PYTEST := $(BIN)/pytest -q

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Set-up

$(VENV)/.stamp: requirements/dev.txt
	@echo "== development environment ($(VENV))"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@for d in $(COMPONENTS:%=%/src) hack; do echo "$(CURDIR)/$$d"; done \
		> $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/metallb-dev.pth
	@touch $@

.PHONY: venv
venv: $(VENV)/.stamp ## make the development environment from the hashed lock file

.PHONY: packages
packages: ## install the Debian packages the lab needs (root)
	@hack/lab/install-packages

.PHONY: tools
tools: ## build or find the pinned Go programs: Kubernetes, etcd, helm and its test tools
	@$(PYTHON) hack/tools/build.py

.PHONY: lock
lock: ## pin the Python dependencies anew, with hashes
	@for f in controller speaker cli dev; do (cd requirements && uv pip compile --quiet --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header $$f.in --output-file $$f.txt); done

##@ Check: no root, no cluster, under a minute

.PHONY: check
check: lint types imports generated unit ## the inner loop: everything that needs no root and no cluster

.PHONY: lint
lint: venv ## ruff: rules and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: venv ## mypy --strict
	@$(BIN)/mypy $(PACKAGES)
	@$(BIN)/mypy $(HACK)

.PHONY: imports
imports: venv ## the arrows between packages (import-linter)
	@$(BIN)/lint-imports

.PHONY: unit
unit: venv ## unit, property and golden tests
	@$(PYTEST) -n 3 -m "not netns and not apiserver and not lab and not gitops and not slow"

.PHONY: generated
generated: venv ## generated files are as their sources say
	@$(PYTHON) hack/tools/build.py helm
	@$(BIN)/python -m generate --check

.PHONY: chart
chart: generated ## all of the chart that needs no cluster: helm lint, helm-unittest, ct lint, generated files, values, alerts
	@eval "$$($(PYTHON) hack/tools/build.py --env helm helm-unittest ct kubernetes/kubectl)" && \
		helm lint --strict charts/metallb && helm unittest --strict charts/metallb
	@$(PYTEST) tests/chart/test_ct.py
	@$(PYTEST) -n 2 -m "not apiserver and not lab and not slow" tests/chart

##@ Test: every tier

.PHONY: test
test: venv ## every tier, each with its own set-up; one that cannot run is named
	@$(BIN)/python -m tiers

.PHONY: gitops
gitops: venv packages tools ## Argo CD and Flux themselves on the examples of docs/gitops.md (root); the first time builds both, which takes minutes
	@$(PYTHON) hack/tools/build.py argocd flux
	@$(PYTEST) tests/gitops

##@ Generate

.PHONY: manifests
manifests: venv ## generate definitions, schema, values page and manifests from their sources
	@$(BIN)/python -m generate

##@ Images, demo, lab

.PHONY: images
images: venv packages ## build the controller and speaker images (buildah)
	@$(BIN)/python -m images

.PHONY: demo
demo: venv packages tools ## a real cluster, the documented install, one Service that answers; KEEP=1 leaves it up, BGP=1 adds a router
	@$(BIN)/python -m demo $(if $(KEEP),--keep) $(if $(BGP),--bgp)

.PHONY: demo-down
demo-down: venv ## end a demo that was kept
	@$(BIN)/python -m demo --down

.PHONY: lab-up
lab-up: venv packages tools ## bring up a cluster in network namespaces (root); LAB=name NODES=3
	@$(BIN)/python -m lab --name $(or $(LAB),lab) up --nodes $(or $(NODES),3)

.PHONY: lab-down
lab-down: venv ## take that cluster down
	@$(BIN)/python -m lab --name $(or $(LAB),lab) down

.PHONY: bench
bench: venv ## print the figures of docs/performance.md
	@$(BIN)/python -m bench

.PHONY: soak
soak: venv ## the long property and fuzz runs: ten times those of `make test`
	@METALLB_FUZZ=1000000 METALLB_MODEL_STEPS=1000000 $(PYTEST) -m slow

##@ Release: VERSION=1.2.3 REGISTRY=host/path

RELEASE = $(BIN)/python -m release

.PHONY: release-version
release-version: venv ## write VERSION and REGISTRY into the tree
	@$(RELEASE) version $(VERSION) --registry $(REGISTRY)

.PHONY: release-images
release-images: venv ## build and push the images of ARCHITECTURE (amd64, arm64, arm/v7; this machine's if unset)
	@$(RELEASE) images $(VERSION) --registry $(REGISTRY) $(if $(ARCHITECTURE),--architecture $(ARCHITECTURE))

.PHONY: release-index
release-index: venv ## join the images of all architectures
	@$(RELEASE) index $(VERSION) --registry $(REGISTRY)

.PHONY: release-sign
release-sign: venv ## list what the images hold and sign both (cosign)
	@$(RELEASE) sign $(VERSION) --registry $(REGISTRY)

.PHONY: release-chart
release-chart: venv ## package and push the chart
	@$(RELEASE) chart $(VERSION) --registry $(REGISTRY)

.PHONY: release-pages
release-pages: venv ## add the packaged chart to the index on gh-pages, served at URL
	@$(RELEASE) pages $(VERSION) --registry $(REGISTRY) --url $(URL)

.PHONY: release-dry-run
release-dry-run: venv packages tools ## all of a release but the uploads, then an installation of it in a lab; VERSION=0.0.1
	@$(BIN)/python -m release dry-run $(or $(VERSION),0.0.1) --registry $(or $(REGISTRY),registry.example.com/metallb)

.PHONY: clean
clean: ## remove what was built in this folder
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
