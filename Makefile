# The two commands: `make demo` and `make test`. Both make their own environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := build/peers
DATA ?=
# On several cores at a time; threads that wait for each other's sleep, so that processes do not take each other's cores
PYTEST := OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-full test-browser test-gpu test-matrix test-other-tools gpu-check docs bench-peers install clean

demo: $(INSTALLED)
	$(BIN)/byol demo --out $$(n=1; while [ -e runs/demo-$$n ]; do n=$$((n+1)); done; echo runs/demo-$$n)

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(PYTEST)

test-full: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[all-maps]" --constraint constraints.txt
	$(PYTEST) -m "not browser and not gpu and not other_tools"
	$(BIN)/python -m tests.mutations

test-browser: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[browser]" --constraint constraints.txt
	$(BIN)/python -m pytest -m browser tests/browser

test-other-tools: build/other-tools/.installed build/lightly-studio/.installed
	build/other-tools/bin/python -m pytest -m other_tools -k "not lightly" tests/docs/test_other_tools.py
	LIGHTLY_STUDIO_ANALYTICS_ENABLED=false build/lightly-studio/bin/python -m pytest -m other_tools -k lightly tests/docs/test_other_tools.py

test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m pytest -m "" tests/parity --device cuda

# On every Python found, with the newest and with the oldest dependencies of pyproject.toml: an hour and more
test-matrix: $(INSTALLED)
	$(BIN)/python -m pip install --quiet uv --constraint constraints.txt
	PATH="$$PWD/$(BIN):$$PATH" $(BIN)/python tools/test_matrix.py

# What holds on a GPU, and how fast it is: by the environment of `make install` where there is one, else by PYTHON with its torch
gpu-check:
	PYTHONPATH=src $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -m benchmarks.gpu_check

# Trainings beside other projects: DATA=... for images of one's own, else made-up ones
bench-peers: $(PEERS)/.installed
	$(BIN)/python -m benchmarks.peers --data "$(DATA)" --out build/peers.json

# Environments of their own that see the packages of ours, so that torch is the same one
$(PEERS)/.installed: PACKAGES = lightly==1.6.0 byol-pytorch==0.9.1 kornia==0.9.0 --constraint constraints.txt
build/other-tools/.installed: PACKAGES = pandas==3.1.* faiss-cpu==1.15.* hnswlib==0.8.* cleanlab==2.9.* fiftyone==1.22.*
build/lightly-studio/.installed: PACKAGES = lightly-studio==1.2.*
$(PEERS)/.installed build/other-tools/.installed build/lightly-studio/.installed: $(INSTALLED)
	$(BIN)/python -m venv $(@D)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$($(@D)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/same_torch.pth
	$(@D)/bin/python -m pip install --quiet $(PACKAGES)
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
