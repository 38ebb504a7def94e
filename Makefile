# What a contributor runs is what CI runs. Everything lives in .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
# What is installed: the working tree, or a built wheel (CI passes one).
EDGECLF ?= -e .

# What installs: pip, or a uv that is named (CI does), in a sixth of pip's CPU time.
# Our own wheels are read again: both leave one of the same version as it is where it is installed,
# and uv would take it out of its cache where --find-links names another file.
UV ?=
OURS := edgeclf $(patsubst %/pyproject.toml,edgeclf-%,$(wildcard */pyproject.toml))
by_uv = $(UV) pip install $(OURS:%=--reinstall-package %) --python $(1)/bin/python
by_pip = $(1)/bin/python -m pip uninstall -qq --yes $(OURS) && $(1)/bin/python -m pip install
install = $(if $(UV),$(by_uv),$(by_pip))
upgrade_pip = $(if $(UV),true,$(1)/bin/python -m pip install --quiet --upgrade pip)

# What `make page` serves: networks of the zoo by name, or files.
FILES ?=

# Any word: the tests count the lines they reach, for a third more of CPU time.
COVERAGE ?=

# The artifacts that `make legacy` runs, as no TensorFlow is there to make any.
ARTIFACTS ?= runs/demo

BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVICE := $(VENV)-device
LEGACY := $(VENV)-legacy
DEPLOY := $(VENV)-deploy
# Another wheel is installed again; the working tree need not be, whatever is written into it.
WHEELS := $(filter %.whl,$(wildcard $(EDGECLF)))

.DEFAULT_GOAL := help
.PHONY: help demo page test test-device test-web lint typecheck docs check-deploy bench findings legacy clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s '|'

$(READY): pyproject.toml $(WHEELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or later is needed; $(PYTHON) is older. Try: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(call upgrade_pip,$(VENV))
	$(call install,$(VENV)) $(EDGECLF)"[all,test,lint,docs]"
	@touch $@

demo: $(READY)  ## mugs example from photos to report: train, distil, convert, calibrate, measure
	$(BIN)/edgeclf demo

page: $(READY)  ## the page, with three networks or FILES="..." to choose from
	$(BIN)/python tools/fetch_web.py
	$(BIN)/python examples/web_app/web_app.py $(FILES)

test: $(READY)  ## run the tests; COVERAGE=yes counts the lines they reach
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal --durations 20 \
		$(if $(COVERAGE),--cov --cov-report=term)

$(DEVICE)/.ready: pyproject.toml $(WHEELS)
	$(PYTHON) -m venv --clear $(DEVICE)
	$(call upgrade_pip,$(DEVICE))
	$(call install,$(DEVICE)) --quiet $(EDGECLF)"[litert]" "pytest>=8" "pytest-xdist>=3"
	@touch $@

test-device: $(DEVICE)/.ready  ## run what a device can: numpy, Pillow and one runtime
	$(DEVICE)/bin/pytest -o cache_dir=$(DEVICE)/.pytest_cache -n auto --maxprocesses 4 --durations 10

web/node_modules/.ready: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

test-web: $(READY) web/node_modules/.ready  ## test the page: types, modules by node, and real browsers
	$(BIN)/python tools/fetch_web.py
	$(BIN)/pytest --durations 10 tests/web tests/service/test_page_routes.py

lint: $(READY)  ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(READY)  ## check types, strictly
	$(BIN)/mypy

docs: $(READY)  ## build the documentation's site, which opens offline: site/index.html
	$(BIN)/python tools/draw_architecture.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DEPLOY)/.ready: pyproject.toml $(WHEELS)
	$(PYTHON) -m venv --clear $(DEPLOY)
	$(call upgrade_pip,$(DEPLOY))
	$(call install,$(DEPLOY)) --quiet $(EDGECLF)"[deploy-checks]" "pytest>=8"
	@touch $@

check-deploy: $(DEPLOY)/.ready  ## let the field's own checkers read deploy/
	$(DEPLOY)/bin/pytest -o cache_dir=$(DEPLOY)/.pytest_cache tests/deploy/test_checkers.py

bench: $(READY)  ## run the project's own benchmarks, the demo and the scenes, whole
	$(BIN)/edgeclf demo
	$(BIN)/python examples/scenes_distillation/scenes.py --smoke
	$(BIN)/python benchmarks/import_time.py
	$(BIN)/python benchmarks/conversion_time.py
	$(BIN)/python benchmarks/all_backbones.py
	$(BIN)/python benchmarks/artifact_overhead.py runs/demo/*.tflite runs/demo/*.onnx
	missed=; for script in call_overhead features_cost batch_throughput device_memory decoded_frames \
		runtime_agreement trust_quality explanation_quality install_footprint peers \
		scaling training_feed method_soundness harness_cost repeatability waiting precisions \
		serving_overhead serving_throughput serving_overload serving_start browser page_soak stress bulk; do \
		$(BIN)/python benchmarks/$$script.py --write || missed="$$missed $$script"; done; \
		$(BIN)/python tools/update_readme.py benchmarks/results; \
		test -z "$$missed" || { echo "limits missed, or failed:$$missed"; exit 1; }

findings:  ## run what surprised us about other software again, and tell what changed
	@bash findings/run

$(LEGACY)/.ready: pyproject.toml $(WHEELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 10), (3, 11)))' || \
		{ echo "tflite-runtime 2.14 has wheels up to Python 3.11, and edgeclf needs 3.10;" \
		"$(PYTHON) is $$($(PYTHON) -V). Try: make legacy PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(LEGACY)
	$(call upgrade_pip,$(LEGACY))
	$(call install,$(LEGACY)) $(EDGECLF)"[tflite]" "pytest>=8"
	@touch $@

legacy: $(LEGACY)/.ready  ## test the device's side on tflite-runtime and numpy 1, with ARTIFACTS=folder
	@ls $(ARTIFACTS)/*.tflite >/dev/null 2>&1 || { echo "$(ARTIFACTS) has no .tflite files." \
		"Make some with: make demo, or name another folder: make legacy ARTIFACTS=folder"; exit 1; }
	EDGECLF_TEST_ARTIFACTS=$(abspath $(ARTIFACTS)) $(LEGACY)/bin/pytest \
		tests/image tests/runtimes/test_contract.py

clean:  ## remove everything that was made here
	rm -rf $(VENV) $(DEVICE) $(LEGACY) $(DEPLOY) runs dist site .coverage .mypy_cache .pytest_cache .ruff_cache \
		web/node_modules edgeclf/web/static/engines
