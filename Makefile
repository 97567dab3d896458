# `make demo` and `make test` work on a fresh clone with Python 3.11+, make and a package index.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# PyTorch's index of CPU builds: the newest release elsewhere may come with gigabytes of CUDA packages.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
# At most four: each worker loads torch and a toolchain. By file, because fixtures that convert are shared in a file; in
# the order of tests/conftest.py. One thread each: the workers and what they start take all cores as it is.
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test bench check format docs clean help

docs: $(VENV)/.dev  ## write the tables of README.md (after make demo)
	$(BIN)/python docs/generate.py --demo demo/report.json

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: $(VENV)/.demo  ## convert bsrn-s to two targets, upscale a photo, print a table
	$(BIN)/python -m edgesr.demo --out demo

test: $(VENV)/.dev  ## the whole suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS) --durations 100 --durations-min 5

bench: $(VENV)/.dev  ## time every graph form in every runtime installed here (15 minutes), write docs/bench.json
	$(BIN)/python -m edgesr.bench.forms --out docs/bench.json

check: $(VENV)/.dev  ## format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.dev  ## let ruff rewrite the files
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove everything that make made
	rm -rf $(VENV) demo build dist *.egg-info

$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "edgesr needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -c "import signal, urllib.request as web; signal.alarm(8); web.urlopen('$(TORCH_INDEX)/torch/', timeout=5)" 2>/dev/null; \
	then echo "installing $(TORCH) (CPU build)"; $(PIP) install --no-deps --index-url $(TORCH_INDEX) $(TORCH); \
	else echo "PyTorch's CPU index cannot be reached: installing $(TORCH) from the default index"; $(PIP) install -c constraints.txt $(TORCH); fi
	@touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(PIP) install -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml
	$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@
