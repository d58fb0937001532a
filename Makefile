# Every target works on a machine with Debian's base system, Python (with venv) and make.
PYTHON ?= python3
# Without PYTHON=, the first suitable one of these makes .venv.
PYTHONS := $(if $(filter file,$(origin PYTHON)),python3 python3.13 python3.12 python3.11 python3.14,$(PYTHON))
SID_PYTHON ?= 3.13
# With PYTHON=.venv-3.13/bin/python each target uses that venv in place of .venv, and creates it if it is missing.
VENV := $(or $(patsubst %/bin/python,%,$(filter .venv-%/bin/python,$(PYTHON))),.venv)
BIN := $(VENV)/bin
PIP = $1/bin/pip --disable-pip-version-check -q
SERVER_PACKAGES := mariadb-server-core mariadb-client-core rabbitmq-server prometheus prometheus-mysqld-exporter curl libfaketime \
	kamailio kamailio-extra-modules kamailio-utils-modules sip-tester \
	chromium fonts-dejavu-core
BENCH_PACKAGES := wrk
SID_TELEPHONY_PACKAGES := kamailio kamailio-extra-modules kamailio-utils-modules asterisk
CLUSTER_PACKAGES := mariadb-server galera-4 rsync haproxy iproute2
GO_PACKAGES := golang-go golang-github-go-sql-driver-mysql-dev golang-github-rabbitmq-amqp091-go-dev \
	golang-github-valyala-fasthttp-dev golang-github-json-iterator-go-dev
MIGRATION_PACKAGES = $(PEER_PACKAGES) haproxy socat
CONSUMER_PACKAGES := nodejs npm php-cli php-amqplib php-illuminate-console default-jdk-headless librabbitmq-client-java
NODE_CONSUMER := docs/consumers/node
PEER_PACKAGES := $(GO_PACKAGES) \
	php-laravel-framework php-amqplib php-cli php-fpm php-mysql nginx-light
FLAVOUR ?= debian
# All clones share the cache of mypy, which compares each file with the one that it has seen.
CACHE := $(or $(INGEST_TEST_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/call-events-tests)
SEEDS ?= 0:10000
RELEASE_TOOLS := var/release-tools
FLAVOUR_SERVERS = $(if $(filter sid,$(FLAVOUR)),sid-servers,servers)
# Files of tests and their servers are in memory if 8 GB are free there. Faults and benchmarks use the disk.
IN_MEMORY := $(shell [ "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 8000000 ] 2>/dev/null && echo TMPDIR=/dev/shm)
# Four processes, each with its own servers, as most tests wait. Files keep their order, so that the many quick unit tests
# come last, and all processes end together. The faults run alone afterwards, as they need the whole machine.
PER_FILE := --dist loadfile --no-loadscope-reorder
PYTEST_SHARED := MAKEFLAGS= $(IN_MEMORY) $(BIN)/pytest -n 4 $(PER_FILE) $(addprefix --ignore tests/,alerts clients clusters faults release)
PYTEST_FAULTS := $(BIN)/pytest -n 2 --dist loadfile
# `make test-mysql` leaves out tests that do not depend on the version of the servers. `make faults FLAVOUR=sid` runs all faults.
NOT_OF_SERVERS := $(addprefix --ignore tests/,unit fuzz browser quiet migration) $(patsubst %,--ignore tests/integration/%.py,$(addprefix cli/test_,cli doctor file_owners replay tail tokens) \
  $(addprefix http/test_,abuse large_batch) $(addprefix rabbitmq/test_,consumer dead_letters stream_mode) \
  $(addprefix observability/test_,dashboards logs metric_catalogue metrics tracing) \
  $(addprefix service/test_,file_modes kamailio lifecycle repeats spool) project/test_services)
# `make test-python` leaves out unit tests that depend on no interpreter: of the tree, of reports, and of random histories.
NOT_OF_PYTHON := $(addprefix --ignore tests/unit/,project bench cli/send/follow/test_histories.py)
FAULTS_OF_SERVERS := tests/faults/nodes/test_kills.py tests/faults/servers/test_outages.py

# Python keeps compiled modules. Without them each of the many processes that the tests start would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE

# `make -n` runs each line of a recipe that names MAKE itself, and with it the tests of that line.
AGAIN = $(MAKE) --no-print-directory

.PHONY: alerts clusters dashboards FORCE help install install-dev run test shared-tests test-mysql test-python faults fuzz simulate servers sid-servers sid-telephony sid-python test-clients test-simulation check format budgets bench bench-bite bench-compare bench-scenarios bench-sweep bench-latency bench-growth bench-soak bench-overload bench-parts bench-batches bench-extras bench-fairness bench-retention bench-reading bench-peers bench-charts migration-peers test-migration peers go-peers wrk settings-doc lock lock-upgrade audit dist clean pictures first-run consumers blocks chart test-chart deb test-deb test-image

help:           ## show this list
	@grep -hE '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | sort

install: $(VENV)/installed  ## create .venv with the service and its command .venv/bin/ingest

install-dev: $(VENV)/installed-dev  ## install, and add the packages for tests, checks and benchmarks

VENVS := $(sort .venv .venv-$(SID_PYTHON) $(VENV))

# A venv that exists and cannot be used is made anew, whatever its files' ages.
$(patsubst %,%/installed,$(shell sh .ci/venv.sh broken $(VENVS))): FORCE
FORCE:

# A venv .venv-3.13 has Debian unstable's Python 3.13. Python compiles a module at its first import, so pip does not.
$(VENVS:%=%/installed): %/installed: pyproject.toml requirements.lock requirements-build.lock
	@sh .ci/venv.sh complete $* || { \
		pythons="$(if $(filter .venv-%,$*),$$(sh tests/setup/sid-python.sh $(*:.venv-%=%)),$(PYTHONS))" && sh .ci/venv.sh make $* $$pythons; }
	@sh .ci/venv.sh install $* --no-compile -r requirements-build.lock -r requirements.lock
	@echo "Installing the service ..."
	@$(call PIP,$*) install --no-build-isolation --no-deps -e .
	@touch $@

# Most of these packages are never imported, so they are compiled only at their first import.
$(VENVS:%=%/installed-dev): %/installed-dev: %/installed requirements-dev.lock requirements-otel.lock
	@sh .ci/venv.sh install $* --no-compile -r requirements-dev.lock -r requirements-otel.lock
	@touch $@

run: install    ## serve on port 8000 with SQLite and the embedded queue
	@exec $(BIN)/ingest serve

test: install-dev servers consumers migration-peers  ## run every check and test, on private MariaDB and RabbitMQ servers
	@outcome=0; $(AGAIN) -k -j2 check shared-tests || outcome=1; \
	  $(PYTEST_FAULTS) tests/faults || outcome=1; exit $$outcome

shared-tests: install-dev
	$(PYTEST_SHARED)

test-mysql: install-dev sid-servers consumers  ## run the tests of servers on real MySQL and RabbitMQ 4
	INGEST_TEST_SERVERS=sid $(PYTEST_SHARED) -m servers --ignore-glob 'tests/integration/project/test_bench*' $(NOT_OF_SERVERS)
	INGEST_TEST_SERVERS=sid $(PYTEST_FAULTS) $(FAULTS_OF_SERVERS)

test-python: .venv-$(SID_PYTHON)/installed-dev servers  ## run the unit tests and a real service on Debian unstable's Python 3.13; SID_PYTHON=3.14 for another
	$(IN_MEMORY) .venv-$(SID_PYTHON)/bin/pytest -n 2 $(PER_FILE) tests/integration/service/test_lifecycle.py tests/unit $(NOT_OF_PYTHON)

test-clients: install-dev servers sid-telephony  ## make real calls through Kamailio 6.1 and Asterisk 22 while the service is killed; needs root (4 min)
	$(IN_MEMORY) $(BIN)/pytest tests/clients -n 2

faults: install-dev $(FLAVOUR_SERVERS)  ## run ten rounds of each fault, and long outages (80 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/pytest tests/faults --long-faults --timeout=600

alerts: install-dev servers  ## fire every alert by its fault; run a healthy service and all planned operations without an alert (30 min)
	$(BIN)/pytest tests/alerts tests/quiet --long-quiet

clusters: install-dev servers  ## kill and cut off nodes of a Galera and a RabbitMQ cluster under load; needs root (15 min)
	@sh tests/setup/debian-packages.sh $(CLUSTER_PACKAGES)
	$(BIN)/pytest tests/clusters

first-run:      ## try `make run` on bare Debian machines, with seconds to the first event; needs root (4 min)
	@sh tests/setup/first-run.sh

deb: install    ## build a Debian package for this machine's release and architecture in dist/ (1 min)
	@PIP=$(CURDIR)/$(BIN)/pip sh .ci/release/debian/build.sh dist

test-deb: install-dev  ## install, upgrade, remove and purge the Debian package on bare Debians; needs root (12 min)
	@sh tests/setup/debian-packages.sh binutils debootstrap lintian
	$(BIN)/pytest $(addprefix tests/release/test_,debian_package.py maintainer_scripts.py build_machine.py) -s

test-image: install-dev  ## run the Dockerfile's steps in a chroot of Debian 13, and serve from the result; needs root (4 min)
	$(BIN)/pytest tests/release/test_image.py

test-chart: install-dev $(RELEASE_TOOLS)/installed  ## render the Helm chart by Helm's library, and read the release workflow with actionlint
	PYTHONPATH=$(RELEASE_TOOLS) $(BIN)/pytest tests/release/test_chart.py tests/release/test_workflow.py

# Helm's library has 250 MB, so the tools are in no venv.
$(RELEASE_TOOLS)/installed: .ci/release/requirements.lock
	@rm -rf $(RELEASE_TOOLS)
	@$(call PIP,$(VENV)) install --require-hashes --no-deps --no-compile --target $(RELEASE_TOOLS) -r .ci/release/requirements.lock
	@touch $@

chart: install-dev  ## write the Helm chart from the manifests in docs/kubernetes
	$(BIN)/python .ci/release/chart/make.py

fuzz: install-dev  ## fuzz all code that reads a client's bytes with a million inputs (15 min)
	@$(call PIP,$(VENV)) install --require-hashes --no-deps -r requirements-fuzz.lock
	@mkdir -p var/fuzz
	$(BIN)/python -m tests.fuzz.decode -runs=1000000 -max_len=2000 -timeout=10 -rss_limit_mb=512 \
		-dict=tests/fuzz/json.dict -artifact_prefix=var/fuzz/ var/fuzz tests/fuzz/corpus
	$(BIN)/python -m tests.fuzz.streams 1000000

simulate: install-dev  ## run seeds of the simulation, 10,000 unless SEEDS=FIRST:END says otherwise; SEEDS=N traces one
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(SIMULATE_SECONDS),--seconds $(SIMULATE_SECONDS))

test-simulation: install-dev  ## simulate the first 900 schedules, or as many as a minute allows
	$(BIN)/python -m tests.simulation --seeds 0:900 --seconds 60

servers:        ## install missing Debian packages of the test servers
	@sh tests/setup/debian-packages.sh $(SERVER_PACKAGES)

sid-servers:    ## create a chroot with MySQL 9 and RabbitMQ 4 of Debian unstable, in the user's cache
	@bash tests/setup/sid-servers.sh

sid-telephony:  ## add Kamailio 6.1 and Asterisk 22 of Debian unstable to that chroot
	@bash tests/setup/sid-servers.sh $(SID_TELEPHONY_PACKAGES)

sid-python: .venv-$(SID_PYTHON)/installed-dev  ## create .venv-3.13 with Debian unstable's Python 3.13; SID_PYTHON=3.14 for another

blocks: install-dev  ## list every fenced block of the documents, and how a test proves it
	$(BIN)/python -m tests.documents

check: install-dev  ## check lint, formatting, types and plain English
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --cache-dir $(CACHE)/mypy
	$(BIN)/python .ci/plain_english.py

format: install-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

budgets: install-dev servers wrk  ## run the benchmarks that have budgets, as CI does
	$(BIN)/python -m bench.budgets

bench-bite: install-dev servers wrk  ## check that known slowdowns break their budgets
	$(BIN)/python -m bench.bite

bench-compare: install-dev servers wrk  ## compare BASE=<rev> with the working tree: faster, slower or no difference seen, with spread
	@test -n "$(BASE)" || { echo "Name a revision: make bench-compare BASE=main"; exit 2; }
	$(BIN)/python -m bench.compare "$(BASE)" $(if $(BASE_PYTHON),--base-python $(BASE_PYTHON))

bench-scenarios: install-dev servers wrk  ## run locust's scenarios, 30 s each, on private servers
	$(BIN)/python -m bench.scenario

bench: install-dev servers sid-servers wrk  ## measure saturation on both pairs of servers, and write bench/results
	$(BIN)/python -m bench.saturation
	INGEST_TEST_SERVERS=sid $(BIN)/python -m bench.saturation

bench-sweep: install-dev $(FLAVOUR_SERVERS) wrk  ## measure throughput by connections, kept and one-shot (6 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.sweep

bench-latency: install-dev $(FLAVOUR_SERVERS) wrk  ## measure latency at fixed rates, and while RabbitMQ restarts and the relay drains (8 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.latency --while broker-restarts --while relay-drains

bench-growth: install-dev $(FLAVOUR_SERVERS) wrk  ## measure throughput by rows (up to 10 million) and by workers (15 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.growth

bench-soak: install-dev $(FLAVOUR_SERVERS) wrk  ## measure a worker's memory over ten minutes, and with a backlog of a million events (15 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.soak

bench-overload: install-dev $(FLAVOUR_SERVERS) wrk  ## measure the service under five times the clients that saturate it, for two minutes; FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.overload

bench-parts: install-dev $(FLAVOUR_SERVERS) wrk  ## measure a commit and a publish alone (1 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.parts

bench-batches: install-dev $(FLAVOUR_SERVERS) wrk  ## compare batches of events with a plain multi-row insert (2 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.batches

bench-extras: install-dev $(FLAVOUR_SERVERS) wrk  ## measure the cost of metrics, tracing and idempotency keys (4 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.extras

bench-fairness: install-dev $(FLAVOUR_SERVERS) wrk  ## measure a quiet token's latency beside a noisy one (3 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.fairness

bench-retention: install-dev $(FLAVOUR_SERVERS)  ## replay a day of ten million events, and drop three such days under load (15 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.retention

bench-reading: install-dev $(FLAVOUR_SERVERS) wrk  ## search calls in ten million events under load (8 min); FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.studies.reading

bench-peers: install-dev $(FLAVOUR_SERVERS) wrk peers  ## compare the service with Go, FastAPI and Laravel in one run; FLAVOUR=sid for real MySQL
	INGEST_TEST_SERVERS=$(FLAVOUR) $(BIN)/python -m bench.peers.run

dashboards: install-dev  ## write Grafana's dashboards from their code
	$(BIN)/python -m observability.dashboards

settings-doc: install-dev  ## write docs/settings.md from the settings' definitions
	$(BIN)/python .ci/settings_doc.py

bench-charts: install-dev  ## draw charts of the results beside them
	$(BIN)/python -m bench.charts

consumers: $(NODE_CONSUMER)/node_modules/.package-lock.json  ## install what the documented consumers in Node, PHP and Java need
	@sh tests/setup/debian-packages.sh $(CONSUMER_PACKAGES)

$(NODE_CONSUMER)/node_modules/.package-lock.json: $(NODE_CONSUMER)/package-lock.json
	@sh tests/setup/debian-packages.sh nodejs npm
	@npm ci --prefix $(NODE_CONSUMER) --silent --no-audit --no-fund
	@touch $@

migration-peers:  ## install missing Debian packages of the Laravel original, and a balancer
	@sh tests/setup/debian-packages.sh $(MIGRATION_PACKAGES)

test-migration: install-dev servers migration-peers  ## move a million rows and ten thousand jobs from Laravel, back, and again, under load (15 min)
	$(BIN)/pytest tests/migration --long-migration -s

peers:          ## install missing Debian packages from which the peers are built
	@sh tests/setup/debian-packages.sh $(PEER_PACKAGES)

go-peers:       ## install missing Debian packages from which the Go peers are built
	@sh tests/setup/debian-packages.sh $(GO_PACKAGES)

wrk:            ## install the load generator if it is missing
	@sh tests/setup/debian-packages.sh $(BENCH_PACKAGES)

pictures: install-dev servers  ## make docs/*.png: pages of a real service under load, in Chromium (2 min)
	$(BIN)/python -m tests.browser.pictures

lock: install-dev  ## write the lock files from pyproject.toml, with hashes and without addresses, and report what changed
	sh .ci/lock

lock-upgrade: install-dev  ## move every locked package to the newest version that pyproject.toml allows, and report what changed
	sh .ci/lock --upgrade

audit:          ## ask whether locked packages are yanked or have known vulnerabilities; needs the network
	sh .ci/audit

dist: install-dev  ## build wheel, sdist and SBOM in dist/, with their SHA-256; every build of a commit has the same bytes
	@rm -f dist/*.whl dist/*.tar.gz dist/sbom.cdx.json dist/SHA256SUMS
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python .ci/sbom.py --otel --output dist/sbom.cdx.json
	@cd dist && sha256sum -- * > SHA256SUMS && cat SHA256SUMS

clean:          ## remove everything that this Makefile made
	rm -rf .venv .venv-* $(NODE_CONSUMER)/node_modules var dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
