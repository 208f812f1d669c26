# make serve   start the broker on http://localhost:8080
# make quick   the tests that need no process, no socket and no recordings, but for those that count
#              work: under a minute
# make test    all tests, what they need included
# make check   lint and types
# make bench   how fast it is, beside nginx; bench/README.md tells what BENCH= and BENCH_PYTHONS= take
# make bench-peers   the same beside other gateways, which it installs in folders of their own
# make docs    write docs/translation.md, docs/metrics.md and the tables of docs/configuration.md anew
# make test-real   against llama.cpp's own server and a tiny model made on the spot
# make test-claude-code   the real Claude Code, through the broker, at backends that refuse things
# make test-clients   the real Codex CLI and the Agents SDK, through the broker, at all dialects
# make fuzz        inputs that nobody wrote, for a minute; SECONDS=3600 for an hour
# make slow-clients   200 slow clients, played by slowhttptest
# make soak        thousands of calls with random faults and clients who leave; SEED=2 for others
# make memory      what 200 slow readers and 1,000 idle streams take
# make lock        requirements.lock and requirements-build.lock anew: every package, with hashes
# make sbom        build/sbom.json (CycloneDX): what requirements.lock installs
# make audit       known vulnerabilities of that, where the registry tells them, and hadolint
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= etc/config.toml
SECONDS ?= 60
SEED ?= 1

.PHONY: serve quick test test-real test-claude-code test-clients fuzz slow-clients soak memory check docs bench bench-peers lock sbom audit wheel clean

# An environment that was half made, or whose Python is gone, is made anew.
$(shell test ! -e $(VENV) || $(BIN)/python -c 'import pip' 2> /dev/null || rm -rf $(VENV))

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "LMBroker needs Python 3.11 or newer: make PYTHON=python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "Python's module venv is missing: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@ $(VENV)/.installed

$(VENV)/.real: pyproject.toml $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,real]'
	touch $@

# Where atheris has no wheel the fuzzer does without.
$(VENV)/.fuzz: pyproject.toml $(VENV)/.installed
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary atheris \
		--editable '.[fuzz]'
	touch $@

$(VENV)/.check: pyproject.toml $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,check]'
	touch $@

serve: $(VENV)/.installed
	$(BIN)/lmbroker serve --config $(CONFIG)

# Whatever the environment says, bytecode is kept: all that the tests start would be compiled anew, and
# their assertions be rewritten in each process.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

quick: $(VENV)/.test
	$(PYTEST) --numprocesses auto --dist worksteal \
		--ignore tests/recordings --ignore tests/test_linear_work.py \
		-m "not process and not sockets and not recordings"

test: $(VENV)/.test
	$(PYTEST) --numprocesses auto --dist worksteal

test-real: $(VENV)/.real
	$(BIN)/python -m pytest tests/real

# Claude Code comes from npm, whose newer releases run no install scripts unless they are asked to.
build/clients/.installed:
	mkdir -p $(@D)
	npm install --no-audit --no-fund --prefix $(@D) @anthropic-ai/claude-code
	cd $(@D)/node_modules/@anthropic-ai/claude-code && node install.cjs
	touch $@

test-claude-code: $(VENV)/.test
	@if command -v npm > /dev/null; then \
		$(MAKE) build/clients/.installed && \
		$(BIN)/python tests/real_clients/claude_code.py \
			--claude build/clients/node_modules/.bin/claude; \
	else \
		echo "Skipped: Claude Code is installed by npm, which is not here."; \
	fi

build/clients/codex/.installed:
	mkdir -p $(@D)
	npm install --no-audit --no-fund --prefix $(@D) @openai/codex
	touch $@

build/clients/agents/.installed:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check openai-agents
	touch $@

test-clients: $(VENV)/.test build/clients/agents/.installed
	$(BIN)/python tests/real_clients/agents_sdk.py --python build/clients/agents/bin/python
	@if command -v npm > /dev/null; then \
		$(MAKE) build/clients/codex/.installed && \
		$(BIN)/python tests/real_clients/codex.py \
			--codex build/clients/codex/node_modules/.bin/codex; \
	else \
		echo "Skipped: Codex is installed by npm, which is not here."; \
	fi

fuzz: $(VENV)/.fuzz
	$(BIN)/python tests/fuzz.py --seconds $(SECONDS)

slow-clients: $(VENV)/.installed
	tests/slow_clients.sh

soak: $(VENV)/.test
	$(BIN)/python tests/soak.py --seed $(SEED)

memory: $(VENV)/.test
	$(BIN)/python tests/memory.py

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed
	$(BIN)/python docs/translation_page.py
	$(BIN)/python docs/configuration_page.py
	$(BIN)/python docs/metrics_page.py
	$(BIN)/python docs/logs_page.py

bench: $(VENV)/.installed bench/build/mockllm bench/build/loadgen
	$(BIN)/python -m bench $(foreach each,$(BENCH_PYTHONS),--python $(each)) $(BENCH)

bench-peers: $(VENV)/.installed bench/build/mockllm bench/build/loadgen
	$(BIN)/python -m bench.peers
	$(BIN)/python -m bench --systems nginx,lean,litellm,llmshim,portkey \
		--measures start,ns64,fast16,paced512 --rounds 2 $(BENCH)

bench/build/%: bench/%.c
	mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -o $@ $<

# Tools for the supply chain, in an environment of their own: what they need is no part of ours.
SUPPLY := build/supply/bin
OLDEST_PYTHON := 3.11
LOCK := $(SUPPLY)/uv pip compile --quiet --upgrade --universal --python-version $(OLDEST_PYTHON) \
	--generate-hashes --no-emit-index-url --custom-compile-command 'make lock'

build/supply/.installed: requirements-supply.txt
	$(PYTHON) -m venv build/supply
	$(SUPPLY)/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

lock: build/supply/.installed
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(SUPPLY)/python -c "import tomllib; \
		print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" \
		| $(LOCK) --no-annotate - --output-file requirements-build.lock

build/locked/.installed: requirements.lock | build/supply/.installed
	rm -rf build/locked
	$(PYTHON) -m venv --without-pip build/locked
	$(SUPPLY)/python -m pip --python build/locked/bin/python install --quiet \
		--disable-pip-version-check --require-hashes --requirement requirements.lock
	touch $@

sbom: build/locked/.installed
	$(SUPPLY)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application \
		--output-reproducible --output-file build/sbom.json build/locked/bin/python

# Strict: a package of which nothing can be learned is no package without a flaw.
audit: build/supply/.installed
	$(SUPPLY)/hadolint Dockerfile
	$(SUPPLY)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
		--requirement requirements.lock --requirement requirements-build.lock

clean:
	rm -rf $(VENV) build dist bench/build *.egg-info
