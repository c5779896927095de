# make setup   .venv with the product and its tools (the other targets call it)
# make demo    a real model, recorded, watched and shipped; DURATION=60 ends by itself
# make test    lint, types, tests, then the tests that inject faults
# make bench   beside HAProxy, nginx, Envoy and aiohttp, on this machine
# make bench-statistics   the detectors beside river, Evidently, NannyML and scipy; QUICK=1 for a short run
# make clean   everything that these targets made here, except records

SHELL := /bin/sh
.DEFAULT_GOAL := setup
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.ready
WORKERS ?= 2
# Programs that some tests need, as command:Debian-package.
TEST_TOOLS := strace:strace faketime:faketime openssl:openssl node:nodejs npm:npm nft:nftables ip:iproute2 \
	promtool:prometheus prometheus-alertmanager:prometheus-alertmanager

.PHONY: setup demo test test-tools bench bench-statistics clean

setup: $(STAMP)

$(STAMP): pyproject.toml Makefile
	@. ./.ci/python.sh; \
	if ! $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		python=$$(find_python) && "$$python" -m venv --clear $(VENV); \
	fi
	@echo "installing into $(VENV)"
	@$(PYTHON) -m pip install --quiet --upgrade 'pip>=25.1'
	@$(PYTHON) -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(STAMP)
	@$(PYTHON) docs/demo/run.py $(if $(DURATION),--duration $(DURATION))

test: $(STAMP) test-tools
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest -n $(WORKERS) -m "not faults"
	$(VENV)/bin/pytest -m faults

test-tools:
	@. ./.ci/debian.sh; for tool in $(TEST_TOOLS); do want "$$tool"; done; install_wanted || true
	@sh .ci/kubernetes.sh $(PYTHON)
	@test -x .tools/node_modules/.bin/azurite || \
	npm install --prefix .tools --no-audit --no-fund --silent azurite@3 >/dev/null 2>&1 || \
	echo "missing: azurite: its tests are skipped: npm install --prefix .tools azurite@3"

bench: $(STAMP)
	@$(PYTHON) -m tests.bench

bench-statistics: $(STAMP)
	@$(PYTHON) -m tests.bench.statistics $(if $(QUICK),--quick)

clean:
	rm -rf $(VENV) .tools .demo bench-results build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find sidecar tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
