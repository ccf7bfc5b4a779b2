# The first Python >= 3.11 on the path; `make PYTHON=python3.13 ...` chooses another.
ifndef PYTHON
PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif

VENV := .venv
BIN := $(VENV)/bin
# Processes that share the tests, which mostly wait: for leases, delays, workers to start.
WORKERS ?= 4
# Further options for pytest, as in `make test ARGS="-k lease"`.
ARGS ?=

.PHONY: help venv demo test test-oldest test-workers conformance chaos soak gate trust lint format bench bench-smoke clean

help:
	@echo "make demo         run the demonstration on an embedded SQLite database"
	@echo "make test         run all tests; SQLite always, other databases where a server answers"
	@echo "make test-oldest  some of the tests with SQLAlchemy 2.0, in an environment of its own"
	@echo "make test-workers the tests with real Celery workers alone"
	@echo "make conformance  run the conformance suite alone"
	@echo "make chaos        all chaos cells, 20 minutes (ARGS='sessions-mysql --seed 7': one of them)"
	@echo "make soak         hours of one cell (SECONDS=1800, ARGS='--database mysql')"
	@echo "make gate         put bugs into a copy of the package, and see the tests find each"
	@echo "make trust        run all layers of the tests in full (an hour), and write down what they were"
	@echo "make lint         check style, formatting, types and the direction of imports"
	@echo "make format       format the code and make the safe repairs of ruff"
	@echo "make bench        compare with other queues and brokers, 20 minutes (ARGS=--quick: two)"
	@echo "make bench-smoke  run each benchmark once, with hardly any jobs"
	@echo "make venv         make $(VENV) with all tools;  make clean removes it and all caches"

venv: $(VENV)/.tools

# Debian without python3-venv has no ensurepip: then the pip outside puts one into the environment.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python" >&2; exit 1; }
	if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv --clear $(VENV); \
	else $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; fi

$(VENV)/.package: pyproject.toml kombu_depqueue/_version.py | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.tools: $(VENV)/.package $(wildcard adapters/*/pyproject.toml)
	$(BIN)/python -m pip install --quiet --editable '.[postgresql]' $(addprefix --editable ,$(wildcard adapters/*/)) \
		--group test --group dev
	@touch $@

# Those we are compared with, and what draws the plots.
$(VENV)/.peers: $(VENV)/.tools
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

demo: $(VENV)/.package
	$(BIN)/python -m kombu_depqueue.demo

test: venv
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --benchmark-disable $(ARGS)

# Our statements are SQLAlchemy's to compile: with the oldest minor version they must be the same, and work.
test-oldest: $(VENV)-oldest/.tools
	$(VENV)-oldest/bin/pytest -n $(WORKERS) --dist loadgroup --benchmark-disable tests/dialects/test_golden_sql.py \
		$(addprefix kombu_depqueue/testing/conformance/test_,enqueue.py settle.py transactions.py opening.py) $(ARGS)

$(VENV)-oldest/.tools: pyproject.toml $(wildcard adapters/*/pyproject.toml)
	$(MAKE) VENV=$(VENV)-oldest $(VENV)-oldest/.package
	$(VENV)-oldest/bin/python -m pip install --quiet --editable '.[postgresql]' \
		$(addprefix --editable ,$(wildcard adapters/*/)) --group test 'sqlalchemy<2.1'
	@touch $@

test-workers: venv
	$(BIN)/pytest -n $(WORKERS) --benchmark-disable tests/transport/test_celery_*.py $(ARGS)

conformance: venv
	$(BIN)/pytest kombu_depqueue/testing/conformance $(ARGS)

chaos: venv
	$(BIN)/python tests/chaos $(ARGS)

# Four hours, if nothing else is said.
soak: SECONDS ?= 14400
soak: venv
	$(BIN)/python tests/chaos/soak.py --seconds $(SECONDS) $(ARGS)

gate: venv
	$(BIN)/pytest -n 2 --dist loadgroup --benchmark-disable --full tests/gate $(ARGS)

# The cells of chaos run one after another: they would measure each other.
trust: venv
	rm -f .layers.json
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --benchmark-disable --full --layers .layers.json $(ARGS); status=$$?; \
	$(BIN)/python tests/layers.py .layers.json docs/reliability.md; exit $$status

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.peers
	$(BIN)/python -m benchmarks $(ARGS)

bench-smoke: $(VENV)/.peers
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup benchmarks --benchmark-disable $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-oldest build dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
