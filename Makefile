# Everything runs in .venv, which the first target that needs it makes.
STACK ?= dev
TIERS := .venv/bin/tiers
# Files of tests at a time: most compute, and some measure. A processor each is enough.
JOBS ?= 2
PYTEST := .venv/bin/python -m pytest -n $(JOBS)
# A shell that forbids it would have every command compile the library again.
unexport PYTHONDONTWRITEBYTECODE
PINS := pyproject.toml requirements.txt constraints.txt scripts/venv

.DEFAULT_GOAL := help
.PHONY: help up down status doctor lint types test test-all bench workflows clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: $(PINS)
	@scripts/venv requirements.txt
	@touch $@

.venv/.ready-dev: $(PINS) requirements-dev.txt
	@scripts/venv requirements-dev.txt
	@touch .venv/.ready $@

up: .venv/.ready ## Bring the stack up on local Docker (STACK=dev)
	@$(TIERS) up --stack $(STACK)

down: .venv/.ready ## Take it down; volumes stay unless DATA=1
	@$(TIERS) down --stack $(STACK) $(if $(filter 1 true yes,$(DATA)),--data)

status: .venv/.ready ## Show health, URLs, images
	@$(TIERS) status --stack $(STACK)

doctor: .venv/.ready ## Check this machine
	@$(TIERS) doctor

lint: .venv/.ready-dev ## Check format and lint
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .

types: .venv/.ready-dev ## Check types
	@.venv/bin/pyrefly check --summary=none

test: lint types ## Plain, docker and engine tests (15 minutes at most)
	@$(PYTEST) -m "not load and not cluster"

test-all: lint types ## Everything: also load, faults, cluster
	@$(PYTEST)

bench: .venv/.ready-dev ## Measure; prints one table
	@.venv/bin/python -m bench

workflows: .venv/.ready-dev ## Write .github/workflows, those of the examples, and their pictures
	@.venv/bin/python scripts/workflows.py

clean: ## Remove .venv and caches (not the stacks' state)
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
