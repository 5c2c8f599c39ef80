# One verb a job; `make` alone lists them. Needs Python 3.11+ and the package registries, nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.PHONY: help install demo test lint crds clean-cache

RUN := uv run --no-sync
ARGS ?=

# The Python environment with everything in it; found or made in each target, because it is quick when it is there.
ENVIRONMENT := source dev/bootstrap.sh

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Make the Python environment (.venv) with everything in it
	@$(ENVIRONMENT)

demo: ## Convert a model in a real control plane on this machine (KEEP=1 leaves it up until Ctrl-C, PICTURE=f.svg)
	@$(ENVIRONMENT)
	exec $(RUN) python -m devcluster.demo $(if $(KEEP),--keep) $(if $(PICTURE),--picture $(PICTURE))

test: lint ## Run all tests (ARGS="tests/unit -k name" chooses)
	@$(ENVIRONMENT)
	$(RUN) python -m devcluster.binaries
	exec $(RUN) pytest $(ARGS)

lint: ## Check style, types, the rules between rooms, and that crds/ is up to date
	@$(ENVIRONMENT)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports --no-cache
	$(RUN) python -m devcluster.crds --check

crds: ## Write crds/ from operator/modelconversion_api
	@$(ENVIRONMENT)
	$(RUN) python -m devcluster.crds

clean-cache: ## Remove what was downloaded and built outside the work tree
	@folder="$${XDG_CACHE_HOME:-$$HOME/.cache}/model-conversion-operator"
	chmod -R u+w "$$folder" 2>/dev/null || true # Go writes its module cache read-only
	rm -rf "$$folder"
	echo "removed $$folder"
