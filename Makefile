PYTHON    ?= python3
BIN       := .venv/bin
READY     := .venv/.ready
MANIFESTS := $(sort $(wildcard */pyproject.toml */*/pyproject.toml))
PACKAGES  := $(MANIFESTS:/pyproject.toml=)
PROTOS     = $(sort $(shell find protos/asahi -name '*.proto'))
KUBE      := .venv/k8s
TOOLS     := $(KUBE)/.ready
RELEASED  := protos/released.binpb.gz
GENERATED := libs/asahi-protos/src/asahi

# Tests of `make test` at once: one more than there are cores, for they often wait. Files are begun in the order of
# pyproject.toml's testpaths: whole installations first, so that no long file is left for the end.
WORKERS    = $(shell $(PYTHON) -c 'import os; print(min(os.cpu_count() + 1, 4))')

# The long rigs of `make verify`, each a module:
# bench.analytics        figures over a million records on both databases, while others are written
# bench.transport        what a call and a streamed chunk cost between two processes
# bench.decision         how long a decision takes with 100 000 outcomes in memory
# bench.relay            how long a stream's first byte is held
# bench.forged           what forged keys at full speed do to who has a valid one
# bench.zipf             a day of Zipf traffic through tier 1: hit rate beside other policies, memory that does not grow
# tests.kills            every service killed at random instants under load, three books compared (--held: with budgets)
# tests.limits           600 requests a minute over two edges, Redis stopped and started meanwhile
# tests.ledger_steps     20 000 random steps over ledger and holds
# tests.revocation       how soon every edge refuses a key that was revoked, under load
# tests.once             requests with an Idempotency-Key, repeated while services are killed
# tests.faults           everything broken at random under mixed traffic, three books compared (`make faults` runs more)
# tests.canaries         secrets and prompts searched for wherever a run leaves something
# tests.shared_flights   identical requests at edges of two cache replicas; the edge that leads killed fifty times
# tests.redis_faults     Redis killed, stopped, slowed under two edges and two cache replicas
# tests.qdrant_faults    Qdrant (QDRANT_BIN, QDRANT_URL, else a stand-in) killed, stopped, slowed under a cache replica
# tests.simulation       100 000 steps over flights, holds, delivery of usage and breakers, on virtual clocks
# tests.hostile          200 000 wrong bodies to every path and method, and connections that mean no good
# tests.overload         three times what can be answered, from two organizations
# tests.leaving          what clients who leave are billed, against the provider's count
# tests.integrations     the examples of docs/integrations, with every client at its pinned version
# tests.budgets          a budget that more ask for than it has money for, with failures and kills
# tests.schemathesis_run thousands of generated calls against the OpenAPI document
# tests.k8s.monitored    every alert at its fault, every query of the dashboards, with a real Prometheus (`make k8s-check` fetches it)
# tests.k8s.operated     the pages of docs/operations typed word for word into helm and kubectl
# tests.k8s.cluster      the production profile on containers: rollouts, drains, kills (needs `make images`, root, podman)
RIGS      := bench.decision bench.transport bench.relay bench.forged bench.analytics bench.zipf tests.kills tests.limits tests.revocation tests.ledger_steps tests.faults tests.canaries tests.simulation tests.hostile tests.overload tests.leaving tests.shared_flights tests.redis_faults tests.qdrant_faults tests.once tests.budgets tests.integrations tests.schemathesis_run tests.k8s.monitored tests.k8s.operated tests.k8s.cluster

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test check format protos release-protos prices lock integrations bench guard bench-peers faults verify charts manifests images k8s-check k8s-e2e clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## Prepare .venv (the other targets do it when needed)

run: $(READY) ## Start all services on this machine
	@$(BIN)/asahi up

test: $(READY) ## Run the fast tests, several files at once
	$(BIN)/pytest --quiet --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(READY) ## Check format, lint, types, import contracts, tests of errors and generated code
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tests.error_coverage
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against $(RELEASED)
	@$(generate); diff -r -x __pycache__ "$$fresh/asahi" $(GENERATED) || \
		{ echo "Generated code is out of date: run 'make protos'." >&2; exit 1; }

format: $(READY) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write protos

protos: $(READY) ## Generate libs/asahi-protos from protos/
	@$(generate); rm -rf $(GENERATED); mv "$$fresh/asahi" $(GENERATED)

release-protos: $(READY) ## Note the protos as released: from then on they change only by addition
	$(BIN)/buf breaking protos --against $(RELEASED)
	$(BIN)/buf build protos --exclude-source-info --output $(RELEASED)

prices: $(READY) ## Take the price snapshot from the pinned genai-prices
	$(BIN)/python -m asahi_core.prices.snapshot

lock: $(BIN)/uv ## Lock dependencies (ARGS=--upgrade for the newest)
	$(call compile,requirements-bootstrap.txt) --group bootstrap
	$(call compile,requirements.lock) --group dev --extra semantic --extra evaluate $(addprefix --no-emit-package ,asahi-core asahi-protos) $(MANIFESTS)

integrations: $(READY) ## Lock and try the clients of docs/integrations (ARGS=--upgrade for the newest)
	$(BIN)/python -m tests.integrations --lock $(ARGS)

guard: $(READY) ## Fail where a request costs a quarter more CPU time than it did
	$(BIN)/python -m bench.guard $(ARGS)

bench: $(READY) ## Measure speed and print the figures
	$(BIN)/python -m bench

bench-peers: $(READY) ## Measure beside LiteLLM and Portkey, which it installs into .venv/peers
	$(BIN)/python -m bench.peers

faults: $(READY) ## Break everything at random, 200 seeds (ARGS=--help says how)
	$(BIN)/python -m tests.faults --seeds 1-200 $(ARGS)

verify: $(TOOLS) ## Run the long rigs, one after the other
	@set -e; for rig in $(RIGS); do echo "verify: $$rig"; $(BIN)/python -m $$rig; done

charts: $(READY) ## Write what is derived in deploy/k8s/charts
	$(BIN)/python -m deploy.k8s.generate

manifests: $(TOOLS) ## Render both profiles for kubectl into .dist
	$(BIN)/python -m deploy.k8s.assemble .dist/charts
	@set -e; for profile in laptop production; do \
		$(KUBE)/helm template asahi .dist/charts/asahi --namespace asahi --skip-tests \
			--values deploy/k8s/charts/asahi/profiles/$$profile.yaml > .dist/$$profile.yaml; \
		echo ".dist/$$profile.yaml"; \
	done

images: $(READY) ## Build the services' images (ARGS=--help says how)
	$(BIN)/python -m deploy.images.build $(ARGS)

k8s-check: $(TOOLS) ## Check the charts: both helms, schemas, rules, alerts
	$(BIN)/pytest -q -n 2 tests/k8s

k8s-e2e: $(TOOLS) ## Operate the production profile on containers, under load (ARGS=--help says how)
	$(BIN)/python -m tests.k8s.cluster $(ARGS)

clean: ## Remove .venv, data and caches
	rm -rf .venv .asahi .dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml $(MANIFESTS) $(BIN)/uv
	$(BIN)/uv pip sync --quiet --python .venv --require-hashes --compile-bytecode requirements-bootstrap.txt requirements.lock
	$(BIN)/uv pip install --quiet --python .venv --no-deps $(addprefix --editable ,$(PACKAGES))
	@touch $@

$(TOOLS): deploy/k8s/tools.py $(READY)
	$(BIN)/python -m deploy.k8s.tools $(KUBE)
	@touch $@

$(BIN)/uv: requirements-bootstrap.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Asahi needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --requirement requirements-bootstrap.txt
	@touch $@

compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command 'make lock' $(ARGS) --output-file $(1)

# Leaves the whole package `asahi`, as it should be, in the temporary folder $fresh.
define generate
set -e; fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
$(BIN)/python -m grpc_tools.protoc --proto_path protos \
	--plugin $(BIN)/protoc-gen-mypy --plugin $(BIN)/protoc-gen-mypy_grpc \
	--python_out "$$fresh" --grpc_python_out "$$fresh" \
	--mypy_out "quiet:$$fresh" --mypy_grpc_out "quiet,only_async:$$fresh" $(PROTOS); \
find "$$fresh/asahi" -type d | while read -r package; do \
	echo '"""Generated from protos/ by `make protos`: never edited."""' >"$$package/__init__.py"; \
done; \
touch "$$fresh/asahi/py.typed"
endef
