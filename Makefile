# The two commands: `make demo` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := build/peers
DATA ?=
# On several cores at a time; threads that wait for each other's sleep, so that processes do not take each other's cores
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-full test-browser test-gpu gpu-check docs bench-peers install clean

demo: $(INSTALLED)
	$(BIN)/byol demo --out $$(n=1; while [ -e runs/demo-$$n ]; do n=$$((n+1)); done; echo runs/demo-$$n)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(PYTEST)

test-full: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[all-maps]" --constraint constraints.txt
	$(PYTEST) -m "not browser and not gpu"
	$(BIN)/python -m tests.mutations

test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[browser]" --constraint constraints.txt
	$(BIN)/python -m pytest -m browser tests/browser

test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m pytest -m "" tests/parity --device cuda

# What holds on a GPU, and how fast it is: by the environment of `make install` where there is one, else by PYTHON with its torch
gpu-check:
	PYTHONPATH=src $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu_check

# Trainings beside other projects: DATA=... for images of one's own, else made-up ones
bench-peers: $(PEERS)/.installed
	$(BIN)/python -m benchmarks.peers --data "$(DATA)" --out build/peers.json

# An environment of their own that sees the packages of ours, so that torch is the same one
$(PEERS)/.installed: $(INSTALLED)
	$(BIN)/python -m venv $(PEERS)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$($(PEERS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/same_torch.pth
	$(PEERS)/bin/python -m pip install --quiet lightly==1.6.0 byol-pytorch==0.9.1 kornia==0.9.0 --constraint constraints.txt
	touch $@
docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going --quiet -d build/doctrees docs build/site
	@echo "the site is build/site/index.html"

install: $(INSTALLED)

# Compiled on all cores, where pip does it on one; some files of some packages are no Python, or of another version
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[dev]" --constraint constraints.txt
	$(BIN)/python -m compileall -qq -j 0 $(VENV) || true
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info
