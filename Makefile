# Two commands: `make start` sets up and shows the course, `make test` proves it. Both work on a fresh machine with
# Python 3.11 or later, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: start lab test build gate audit clean

start: $(VENV)/.lab
	$(BIN)/aigc start

lab: $(VENV)/.lab
	$(BIN)/aigc lab

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/aigc build --check
	$(BIN)/pytest
	$(BIN)/pytest --nbval-lax solutions

build: $(VENV)/.lab
	$(BIN)/aigc build

gate: $(VENV)/.lab
	for unit in $$($(BIN)/aigc list --exercises); do $(BIN)/aigc gate $$unit || exit 1; done

audit: $(VENV)/.lab
	$(BIN)/aigc audit

clean:
	rm -rf $(VENV)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "this course needs Python 3.11 or later; found $$($(PYTHON) --version). Try: make PYTHON=python3.12 start"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# The stamp of an extra follows the files that say what it holds, so a changed pin is installed at the next make.
$(VENV)/.lab: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab]'
	touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab,test,dev]'
	touch $@ $(VENV)/.lab
