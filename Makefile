# Everything a contributor runs. The product needs Python only; contracts also need Node.js, for the compiler and anvil.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
# Set in many images; here hundreds of processes start, and each would compile the same hundred thousand lines.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BROWNIE := scripts/brownie.sh
FORGE := PATH="$(CURDIR)/node_modules/.bin:$$PATH" forge
UV := $(VENV)/bin/uv
BIN := $(VENV)/bin
LOCK := $(UV) pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
        --custom-compile-command "make lock"

PRODUCT := $(VENV)/.installed
CONTRACTS := .venv-brownie/.installed
REVIEW := .venv-review/.installed
NODE := node_modules/.installed

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Environments ---------------------------------------------------------------------------------------------------------

.PHONY: install install-brownie install-review install-node
install: $(PRODUCT) ## Install the product and its checks into .venv
	@:
install-brownie: $(CONTRACTS) $(NODE) ## Install Brownie into .venv-brownie, with the compiler and anvil
	@:
install-review: $(REVIEW) $(NODE) ## Install Slither into .venv-review
	@:
install-node: $(NODE) ## Install the Solidity compiler, libraries, anvil and forge from npm
	@:

$(UV): requirements/uv.txt
	@$(BIN)/python -c '' 2>/dev/null || { \
	  python=$$(scripts/find_python.sh) || exit 1; \
	  echo "Creating $(VENV) with $$($$python --version)"; \
	  $$python -m venv --clear $(VENV) || { echo "Python's venv module is needed (Debian: python3-venv)." >&2; exit 1; }; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(PRODUCT): $(UV) requirements/product.txt pyproject.toml
	@echo "Installing the Python packages of requirements/product.txt"
	@$(UV) pip sync -q -p $(VENV) requirements/product.txt
	@$(UV) pip install -q -p $(VENV) --no-deps --no-build-isolation -e .
	@touch $@

# Brownie builds without isolation, so that the setuptools of the lock makes it and not whatever is newest that day.
$(CONTRACTS): $(UV) requirements/brownie.txt
	@echo "Installing Brownie into .venv-brownie, as pure Python"
	@$(UV) venv -q --clear -p $(BIN)/python .venv-brownie
	@sed -n '/^setuptools==/,/[^\\]$$/p' requirements/brownie.txt | $(UV) pip install -q -p .venv-brownie --require-hashes -r -
	@BROWNIE_NOCOMPILE=1 $(UV) pip sync -q -p .venv-brownie --no-binary eth-brownie --no-build-isolation requirements/brownie.txt
	@touch $@

$(REVIEW): $(UV) requirements/review.txt
	@echo "Installing Slither into .venv-review"
	@$(UV) venv -q --clear -p $(BIN)/python .venv-review
	@$(UV) pip sync -q -p .venv-review requirements/review.txt
	@touch $@

$(NODE): package.json package-lock.json .npmrc
	@node -e 'process.exit(parseInt(process.version.slice(1)) < 20 ? 1 : 0)' 2>/dev/null || \
	  { echo "The contracts need Node.js 20 or newer, with npm, on PATH (the demo and the node do not)." >&2; exit 1; }
	@echo "Installing the Node.js packages of package-lock.json"
	@npm ci --loglevel=error
	@touch $@

# Use ------------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: install ## Show the whole idea at work (ARGS="--json", "--keep", "--act store")
	@$(BIN)/waypost demo $(ARGS)

# Tests ----------------------------------------------------------------------------------------------------------------

.PHONY: test test-contracts test-services test-forge soak mutate bench ceremony
test: install install-brownie ## Run every test: contracts on anvil, services, end to end
	@scripts/run_tests.sh

test-contracts: install-brownie ## Run the contract tests alone
	@$(BROWNIE) pytest $(wildcard tests/contracts tests/invariants) $(ARGS)

test-services: install install-brownie ## Run the Python tests alone
	@$(BIN)/pytest $(wildcard tests/e2e tests/fire tests/services) $(ARGS)

soak: install install-brownie ## Kill nodes hundreds of times, run the machines for long (ARGS="--seed 7", "--only fire", "--fresh")
	@$(BIN)/python scripts/soak.py $(ARGS)

mutate: install install-node ## Make small mistakes; tests must notice (ARGS="--only ledger", "--only channels --shard 3/8")
	@$(BIN)/python -m scripts.mutate $(ARGS)

test-forge: install-node ## Run the fast contract tests that kill mutants
	@$(FORGE) test $(ARGS)

BENCHMARKS := throughput rln relay

bench: install ## Measure payment, RLN proofs and relaying (ARGS=--json, ONLY="relay")
	@status=0; for each in $(or $(ONLY),$(BENCHMARKS)); do \
	  $(BIN)/python -m tests.benchmarks.$$each $(ARGS) || status=1; done; exit $$status

ceremony: install install-node ## Make RLN keys of one's own (ARGS="start|contribute|verify|export ...")
	@$(BIN)/python -m scripts.ceremony $(ARGS)

# Generated files, committed -------------------------------------------------------------------------------------------

.PHONY: artifacts circuit gas openapi lock
artifacts: install install-node ## Compile the contracts into services/waypost/chain/artifacts
	@$(BIN)/python scripts/export_artifacts.py

circuit: install install-node ## Compile circuits/rln.circom into services/waypost/zk
	@$(BIN)/python -m scripts.compile_circuit

gas: install-brownie ## Measure gas into tests/benchmarks/gas.json
	@$(BROWNIE) pytest -q $(wildcard tests/benchmarks/gas*.py)

openapi: install ## Write docs/openapi.json from the node's routes
	@$(BIN)/python scripts/export_openapi.py

lock: $(UV) ## Resolve the dependencies anew into requirements/ and package-lock.json (ARGS="--upgrade")
	@grep -oE '^uv==[^ ]+' requirements/uv.txt | $(LOCK) -o requirements/uv.txt -
	@$(LOCK) $(ARGS) --group dev -o requirements/product.txt pyproject.toml
	@$(LOCK) $(ARGS) --no-binary eth-brownie -o requirements/brownie.txt requirements/brownie.in
	@$(LOCK) $(ARGS) -o requirements/review.txt requirements/review.in
	@npm install --package-lock-only --loglevel=error

# Checks ---------------------------------------------------------------------------------------------------------------

# Brownie, which the rest of tests imports, has no types.
PYTHON_SOURCES := $(wildcard services scripts tests/services tests/fire tests/e2e) \
                  $(filter-out tests/benchmarks/gas%,$(wildcard tests/benchmarks/*.py))

.PHONY: check check-python check-contracts check-circuit slither format
check: check-python check-contracts check-circuit ## Lint, types, layers, formats; artifacts, gas and API are as committed

check-python: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy $(PYTHON_SOURCES)
	$(BIN)/lint-imports
	$(BIN)/python scripts/export_openapi.py --check

check-contracts: install install-brownie slither
	$(FORGE) fmt --check
	$(FORGE) lint --deny notes contracts
	$(FORGE) test
	$(BIN)/python scripts/export_artifacts.py --check
	scripts/check_gas.sh

check-circuit: install install-node
	$(BIN)/python -m scripts.compile_circuit --check

slither: install install-review ## Every finding of Slither is argued in docs/slither.md
	$(BIN)/python scripts/check_slither.py

format: install install-node ## Format Python and Solidity in place
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(FORGE) fmt

.PHONY: clean
clean: ## Remove environments, packages and everything generated that is not committed
	rm -rf .venv .venv-brownie .venv-review node_modules build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find services scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
