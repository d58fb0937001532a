# Every target works on a machine that has Debian's base, Python (with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
SERVER_PACKAGES := mariadb-server-core mariadb-client-core rabbitmq-server prometheus curl
BENCH_PACKAGES := wrk
FLAVOUR ?= debian
# Two processes, each with servers of its own; the faults, which want the machine for themselves, come after.
PYTEST_SHARED := $(BIN)/pytest -n 2 --dist loadfile --ignore tests/faults

.PHONY: help install install-dev run test test-mysql faults servers sid-servers check format budgets bench bench-bite wrk lock clean

help:           ## this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

install: $(VENV)/installed  ## .venv with the service and its command .venv/bin/ingest

install-dev: $(VENV)/installed-dev  ## the same with what tests, checks and benchmarks need

$(VENV)/installed: pyproject.toml requirements.lock requirements-build.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --no-deps -r requirements-build.lock -r requirements.lock
	@$(PIP) install --no-build-isolation --no-deps -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.lock
	@$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	@touch $@

run: install    ## serve on port 8000 with SQLite and the embedded queue
	@$(BIN)/ingest migrate
	@exec $(BIN)/ingest serve

test: install-dev check servers  ## every test, on private MariaDB and RabbitMQ servers
	$(PYTEST_SHARED)
	$(BIN)/pytest tests/faults

test-mysql: install-dev sid-servers  ## what talks to servers, on real MySQL and RabbitMQ 4
	INGEST_TEST_SERVERS=sid $(PYTEST_SHARED) -m servers
	INGEST_TEST_SERVERS=sid $(BIN)/pytest tests/faults

faults: install-dev $(if $(filter sid,$(FLAVOUR)),sid-servers,servers)  ## ten rounds of each fault and outages of a minute (10 minutes); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/pytest tests/faults --long-faults --timeout=600

servers:        ## Debian's packages of the servers that the tests start, if they are missing
	@sh tests/setup/debian-packages.sh $(SERVER_PACKAGES)

sid-servers:    ## MySQL 9 and RabbitMQ 4 in a chroot of Debian's unstable suite, in the user's cache
	@bash tests/setup/sid-servers.sh

check: install-dev  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

budgets: install-dev servers wrk  ## the benchmarks that CI holds to their budgets
	$(BIN)/python -m bench.budgets

bench-bite: install-dev servers wrk  ## show that a known slowdown breaks its budget
	$(BIN)/python -m bench.bite

bench: install-dev servers sid-servers wrk  ## figures under saturation, on both pairs of servers, into bench/results
	$(BIN)/python -m bench.saturation
	INGEST_TEST_SERVERS=sid $(BIN)/python -m bench.saturation

wrk:            ## the load generator, if it is missing
	@sh tests/setup/debian-packages.sh $(BENCH_PACKAGES)

lock: install-dev  ## make the lock files anew from pyproject.toml: hashes, no addresses
	sh .ci/lock

clean:          ## remove what this Makefile made
	rm -rf $(VENV) var .mypy_cache .ruff_cache .pytest_cache .hypothesis
