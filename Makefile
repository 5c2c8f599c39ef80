# One verb a job; `make` alone lists them. Needs Python 3.11+ and the package registries, nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.PHONY: help install demo check test e2e images release bundle client docs lint generated clean-cache

RUN := uv run --no-sync
ARGS ?=
WORKERS ?= 3
LANES := --dist loadscope --no-loadscope-reorder
GENERATED := generated.crds generated.api_reference generated.requirements generated.chart_readme generated.version generated.rooms dashboards

# The Python environment with everything in it; found or made in each target, because it is quick when it is there.
ENVIRONMENT := source dev/bootstrap.sh

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Make the Python environment (.venv) with everything in it
	@$(ENVIRONMENT)

demo: ## Convert a model in a real control plane on this machine (KEEP=1 leaves it up, NODE=containers needs root)
	@$(ENVIRONMENT)
	exec $(RUN) python -m devcluster.demo $(if $(KEEP),--keep) $(if $(PICTURE),--picture $(PICTURE)) \
		$(if $(filter containers,$(NODE)),--containers)

check: lint ## Lint, types and the fast unit tests: what one runs while writing
	@$(ENVIRONMENT)
	exec $(RUN) pytest --numprocesses 2 $(LANES) --quiet $(or $(ARGS),tests/unit -m "not slow")

test: lint ## Run all tests (ARGS="tests/unit -k name" chooses)
	@$(ENVIRONMENT)
	# NODE=containers: a node's programs are built along, in less time than apart from these.
	$(RUN) python -m devcluster.tools.binaries --collector $(if $(filter containers,$(NODE)),--node)
	$(RUN) python -m devcluster.tools.helm
	$(RUN) python -m devcluster.tools.mlflow # 620 MB, once
	$(RUN) python -m devcluster.tools.guests # half a minute and 330 MB, once
	# Each worker waits most of the time: for Jobs, leases and deadlines.
	exec $(RUN) pytest --numprocesses $(WORKERS) $(LANES) --durations 20 $(ARGS)

e2e: ## Run the end-to-end tests in real containers, as root; with KUBECONFIG set, in that cluster
	@$(ENVIRONMENT)
	if [ -z "$${KUBECONFIG:-}" ]; then
		$(RUN) python -m devcluster.tools.binaries --node
		$(RUN) python -m devcluster.images
	fi
	exec $(RUN) pytest $(or $(ARGS),tests/e2e)

images: ## Build both container images into the cache folder and show their layers (as root)
	@$(ENVIRONMENT)
	exec $(RUN) python -m devcluster.images sizes

release: ## Push images and chart, signed, into REGISTRY=HOST:PORT/PREFIX (as root; HELP=1 lists the variables)
	@$(ENVIRONMENT)
	exec $(RUN) python -m devcluster.release $(if $(HELP),--help,$(or $(REGISTRY),$(error REGISTRY=HOST:PORT/PREFIX is \
		missing: make release HELP=1))) $(if $(PLATFORMS),--platforms $(PLATFORMS)) $(if $(IMAGES),--images $(IMAGES)) \
		$(if $(SIGN_KEY),--sign-key $(SIGN_KEY)) $(if $(INTO),--into $(INTO)) \
		$(if $(filter 1,$(PLAIN_HTTP)),--plain-http) $(if $(filter 0,$(PLAIN_HTTP)),--no-plain-http) \
		$(if $(UNTAGGED),--untagged) $(if $(OVERWRITE),--overwrite) $(if $(DRY_RUN),--dry-run)

bundle: ## Write the chart as a bundle for the Operator Lifecycle Manager into INTO (release-bundle)
	@$(ENVIRONMENT)
	exec $(RUN) python -m devcluster.release.bundle $(if $(INTO),--into $(INTO)) $(if $(CHART),--chart $(CHART))

client: ## Build the Python client and kubectl plugin as a wheel into INTO (dist)
	@$(ENVIRONMENT)
	exec uv build --wheel operator --out-dir $(or $(INTO),dist)

docs: ## Build the site of the documents, with search, into site/
	@$(ENVIRONMENT)
	exec $(RUN) python -m devcluster.site

lint: ## Check style, types, the rules between rooms, and that what is generated is up to date
	@$(ENVIRONMENT)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy
	$(RUN) lint-imports --no-cache
	$(RUN) vulture
	$(RUN) typos
	for program in $(GENERATED); do $(RUN) python -m devcluster.$$program --check; done

generated: ## Write what is made from other files: CRD, its reference, chart page, dashboards, requirements, version
	@$(ENVIRONMENT)
	for program in $(GENERATED); do $(RUN) python -m devcluster.$$program; done

clean-cache: ## Remove what was downloaded and built outside the work tree
	@folder="$${XDG_CACHE_HOME:-$$HOME/.cache}/model-conversion-operator"
	chmod -R u+w "$$folder" 2>/dev/null || true # Go writes its module cache read-only
	rm -rf --one-file-system "$$folder" # nothing that a node has mounted there
	echo "removed $$folder"
