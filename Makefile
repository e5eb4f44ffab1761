# The two commands: `make demo` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-full test-browser docs install clean

demo: $(INSTALLED)
	$(BIN)/byol demo --out $$(n=1; while [ -e runs/demo-$$n ]; do n=$$((n+1)); done; echo runs/demo-$$n)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m pytest

test-full: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[all-maps]" --constraint constraints.txt
	$(BIN)/python -m pytest -m "not browser"
	$(BIN)/python -m tests.mutations

test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[browser]" --constraint constraints.txt
	$(BIN)/python -m pytest -m browser tests/browser

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going --quiet -d build/doctrees docs build/site
	@echo "the site is build/site/index.html"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]" --constraint constraints.txt
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info
