# make serve   start the broker on http://localhost:8080
# make test    all tests, what they need included
# make check   lint and types
# make bench   how fast it is, beside nginx; bench/README.md
# make docs    write docs/translation.md anew
# make test-real   against llama.cpp's own server and a tiny model made on the spot
# make fuzz        inputs that nobody wrote, for a minute; SECONDS=3600 for an hour
# make slow-clients   200 slow clients, played by slowhttptest
# make soak        thousands of calls with random faults and clients who leave; SEED=2 for others
# make memory      what 200 slow readers and 1,000 idle streams take
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= etc/config.toml
SECONDS ?= 60
SEED ?= 1

.PHONY: serve test test-real fuzz slow-clients soak memory check docs bench wheel clean

$(BIN)/python:
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
	$(BIN)/twistd -n --pidfile= lmbroker --config $(CONFIG)

test: $(VENV)/.test
	$(BIN)/python -m pytest

test-real: $(VENV)/.real
	$(BIN)/python -m pytest tests/real

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

bench: $(VENV)/.installed bench/build/mockllm bench/build/loadgen
	$(BIN)/python -m bench $(BENCH)

bench/build/%: bench/%.c
	mkdir -p $(@D)
	$(CC) -O2 -Wall -Wextra -o $@ $<

clean:
	rm -rf $(VENV) build dist bench/build *.egg-info
