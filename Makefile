# What a contributor runs is what CI runs. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
# What is installed: the working tree, or a built wheel (CI passes one).
EDGECLF ?= -e .

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test lint typecheck bench clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1|/' | column -t -s '|'

$(READY): pyproject.toml $(wildcard $(EDGECLF))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or later is needed; $(PYTHON) is older. Try: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install $(EDGECLF)"[all,test,lint]"
	@touch $@

demo: $(READY)  ## mugs example from photos to report: train, distil, convert, verify, measure
	$(BIN)/edgeclf demo

test: $(READY)  ## run the tests, with coverage
	$(BIN)/pytest --cov --cov-report=term

lint: $(READY)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(READY)  ## check types, strictly
	$(BIN)/mypy

bench: $(READY)  ## run the project's own benchmarks
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/conversion_time.py
	$(BIN)/python benchmarks/artifact_overhead.py runs/demo/*.tflite runs/demo/*.onnx

clean:  ## remove everything that was made here
	rm -rf $(VENV) runs dist .coverage .mypy_cache .pytest_cache .ruff_cache
