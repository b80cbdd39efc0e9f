# Needs Python 3.11 or newer, make and git. PYTHON=python3.12 make test uses another interpreter, VENV=DIR another
# environment.
PYTHON ?= python3
VENV ?= .venv
SF ?= 1
FLEET ?= local://4

BIN := $(VENV)/bin
TPCDS := .venv-tpcds
INSTALLED := $(VENV)/.installed
ROOMS := planner exec transport tpch
PACKAGE := build/package

.PHONY: tpch tpcds test lint format bench install package clean

# The benchmark, data included: 22 queries, every answer checked.
tpch: install
	$(BIN)/sord tpch run --sf $(SF) --fleet $(FLEET)

# The same with TPC-DS and its 99 queries.
tpcds: install $(TPCDS)/.installed
	$(BIN)/sord tpcds run --sf $(SF) --fleet $(FLEET)

test: install data/tpcds/sf0.01
	$(BIN)/python -m pytest

lint: install package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p sord
	PYTHONPATH=$(PACKAGE) $(BIN)/lint-imports --no-cache

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The figures of docs/benchmarks.md; SF=10 make bench for the larger ones.
bench: install
	$(BIN)/sord tpch run --sf $(SF) --fleet embedded --repeat 5
	$(BIN)/sord tpch run --sf $(SF) --fleet "local://2?threads=1" --repeat 5
	$(BIN)/sord tpch run --sf $(SF) --fleet "local://4?threads=1" --repeat 5

data/tpcds/sf0.01: | install $(TPCDS)/.installed
	$(BIN)/sord tpcds gen --sf 0.01

# DuckDB's generator of TPC-DS is an extension that locks to one version of DuckDB, so it lives apart.
$(TPCDS)/.installed:
	test -x $(TPCDS)/bin/python || $(PYTHON) -m venv $(TPCDS)
	$(TPCDS)/bin/python -m pip install --quiet --disable-pip-version-check duckdb==1.5.5 duckdb-extension-tpcds==1.5.5
	touch $@

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

# The package as it is installed, out of links: the folder engine/ is `sord`, and the other rooms are inside of it.
package:
	rm -rf $(PACKAGE)
	mkdir -p $(PACKAGE)/sord
	for file in engine/*; do ln -s "$(CURDIR)/$$file" $(PACKAGE)/sord/; done
	for room in $(ROOMS); do ln -s "$(CURDIR)/$$room" $(PACKAGE)/sord/; done

# The data and the environment stay: they are slow to make, and `rm -rf data .venv` says what it does.
clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path "./$(VENV)/*" -prune -exec rm -rf {} +
