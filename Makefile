# Every target makes what it needs first; `make test` on a fresh clone is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
RUN_DIR ?= runs/demo
WORKERS ?= 2

.PHONY: help setup demo test test-fast parity bench lint format docs lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## make .venv with the locked tools, the package itself and its kernels

$(INSTALLED): requirements.lock pyproject.toml hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxnets needs Python 3.11 or newer: make PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	JAXNETS_NATIVE=0 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Apart from the packages, so that an edit of the kernels installs nothing anew.
$(READY): $(INSTALLED) jaxnets/native/build.py $(wildcard jaxnets/native/src/*)
	$(BIN)/python -m jaxnets.native --if-possible
	@touch $@

demo: $(READY)  ## train, test, save and plot the convnet on digits, without a network
	$(BIN)/python examples/mnist_cnn.py --dataset digits --batch-size 32 \
	  --run-dir $(RUN_DIR) --overwrite

test: $(READY)  ## the whole suite
	$(BIN)/python -m pytest -n $(WORKERS)

test-fast: $(READY)  ## the suite without the slow tests: what to run all day
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

parity: $(READY)  ## the comparisons with PyTorch (needs: .venv/bin/pip install torch transformers)
	$(BIN)/python -c 'import torch'
	$(BIN)/python -m pytest -n $(WORKERS) -m torch tests

bench: $(READY)  ## the quick benchmarks
	$(BIN)/python -m benchmarks.conv_suite --quick
	$(BIN)/python -m benchmarks.conv_direct_vs_fft --quick
	$(BIN)/python -m benchmarks.pooling --quick
	$(BIN)/python -m benchmarks.models --quick
	$(BIN)/python -m benchmarks.recurrent --quick
	$(BIN)/python -m benchmarks.sampling --quick
	$(BIN)/python -m benchmarks.step_overhead --quick

lint: $(READY)  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(READY)  ## rewrite the files as `make lint` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## build the pages into site/; broken links and failing examples are errors
	$(BIN)/python -m pytest -q --doctest-glob="*.md" docs README.md
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lock:  ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --fork-strategy fewest \
	  --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade \
	  --output-file requirements.lock

clean:  ## remove what the targets made
	rm -rf $(VENV) site runs benchmarks/results .pytest_cache .ruff_cache .hypothesis
	rm -f jaxnets/native/*.so jaxnets/native/*.new
