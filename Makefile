# Two commands: `make start` sets up and shows the course, `make test` proves it. Both work on a fresh machine with
# Python 3.11 or later, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PARALLEL ?= --numprocesses auto --maxprocesses 4
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: start lab test build prove audit-changed clean

start: $(VENV)/.lab
	$(BIN)/aigc start

lab: $(VENV)/.lab
	$(BIN)/aigc lab

test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/aigc build --check
	$(BIN)/pytest $(PARALLEL) --dist loadgroup --from-records

build: $(VENV)/.lab
	$(BIN)/aigc build

# Everything asked anew, whatever stands in the records: for a release. Interrupted, it goes on where it was.
prove: $(VENV)/.test
	$(BIN)/aigc prove --again

# What CI audits besides: of units of which a file differs from the revision AUDIT_BASE, every mutant, and right variants and fakes on
# ten new seeds; and of some units five mutants a stub, at a bar that a lone survivor among so few does not break. At most four units
# of each, drawn anew on each run, so that it takes no longer the more units there are.
AUDIT_BASE ?= HEAD~1
audit-changed: $(VENV)/.lab
	@if git rev-parse --quiet --verify "$(AUDIT_BASE)^{commit}" > /dev/null 2>&1; then \
	  echo "audit of units that differ from $(AUDIT_BASE)"; \
	  $(BIN)/aigc audit --changed "$(AUDIT_BASE)" --seeds 10 --sample-units 4; \
	else \
	  echo "git knows no revision $(AUDIT_BASE) here (set AUDIT_BASE to another): only a sample is audited"; \
	fi
	$(BIN)/aigc audit --mutants-only --sample 5 --sample-units 4 --bar 0.9

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
