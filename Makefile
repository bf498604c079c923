# Everything a newcomer or CI runs. `make help` lists it.
SHELL := bash
.DEFAULT_GOAL := help
UV_VERSION := 0.13.9
CACHE := $(or $(MODELRAMP_CACHE),$(HOME)/.cache/modelramp)
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
BIN := .venv/bin
FAST := not apiserver and not cluster and not prometheus and not server and not slow
WHOLE_FILES := --dist loadfile --no-loadscope-reorder

.PHONY: help venv check format crds test test-fast test-apiserver test-cluster demo bench soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: .venv/.synced ## the virtual environment, exactly as uv.lock says

.venv/.synced: uv.lock pyproject.toml $(UV)
	@$(UV) sync --quiet --frozen
	@touch $@

$(UV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo 'needs Python 3.11 or newer as python3: install it (Debian: apt-get install python3 python3-venv)' >&2; exit 2; }
	@python3 -m venv $(CACHE)/uv-$(UV_VERSION) || { echo 'needs the venv module: install it (Debian: apt-get install python3-venv)' >&2; exit 2; }
	@$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION) || { echo 'needs a Python package index: check the network, or set PIP_INDEX_URL' >&2; rm -rf $(CACHE)/uv-$(UV_VERSION); exit 2; }

check: venv ## format, lint, types, import contracts, generated files
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m modelramp.api --check

format: venv ## format the code
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --fix --quiet .

crds: venv ## generate the CRDs and the API reference from the pydantic models
	@$(BIN)/python -m modelramp.api

# The story on a whole cluster measures, and wants the machine to itself; the others mostly wait for servers.
test: check ## every test, on real parts (a whole cluster; etcd, API server, MLflow, Prometheus, Envoy)
	@$(BIN)/pytest -m cluster; story=$$?; $(BIN)/pytest -m "not cluster" --numprocesses 3 $(WHOLE_FILES) && exit $$story

test-fast: venv ## tests that start no server at all; under a minute
	@$(BIN)/pytest -m "$(FAST)" --numprocesses 2 $(WHOLE_FILES)

test-apiserver: venv ## tests that need a real API server
	@$(BIN)/pytest -m apiserver

test-cluster: venv ## the tests on a whole cluster, alone
	@$(BIN)/pytest -m cluster

demo: venv ## the main job on a whole cluster of its own; KEEP=1 leaves it running
	@$(BIN)/python -m cluster.demo $(if $(KEEP),--keep)

bench: venv ## latency, throughput and cost, side by side with peers in one run; installs MLServer once, into the cache
	@$(BIN)/python -m tests.benchmarks

soak: venv ## 100,000 requests, good and bad, to the model server: right answers, reasons, flat memory; some ten minutes
	@MODELRAMP_SOAK_REQUESTS=$(or $(REQUESTS),100000) $(BIN)/pytest -s tests/runtime/test_soak.py

clean: ## remove the virtual environment and what tools left here; the cache stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
