# Two commands: `make demo` and `make test`. Both install what they need into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where the default index would give PyTorch's large CUDA build:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test soak fuzz check lint bench docs clean

help: ## Show these targets
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## Make .venv with the package, its extras and the test tools

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "diabolo needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[plot,pandas,hdf5,root,images,remote,dev]'
	@touch $@

demo: install ## Fit, calibrate and score the sample of LHC events that ships with the package
	$(BIN)/diabolo demo --out out/demo

# One thread for each of the tests' processes: they already share the cores between them.
test: install ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal

soak: install ## Run the slow tests too
	$(BIN)/python -m pytest

fuzz: install ## Try a million mutations of compressed files, a hundred thousand of model files
	cd tests && ../$(BIN)/python fuzz_dbl.py --mutations 1000000
	cd tests && ../$(BIN)/python fuzz_model.py --mutations 100000

lint: install ## Check style, types and that the pages written from the code are in step
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/build.py --check

check: lint test ## What runs before anything lands: style, types, tests, doctests, docs in step

bench: install ## Run the benchmarks (needs DIABOLO_DATA for real tables; installs PyOD)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[bench]'
	for script in train ensemble conv score parquet mnist mnist_digits lhc mixed compress rate_distortion; do $(BIN)/python bench/$$script.py || exit 1; done
	$(BIN)/python bench/adbench.py --quick

docs: install ## Write the pages that come from the code, run docs/lecture.md, draw its figures
	$(BIN)/python docs/build.py

clean: ## Remove what make made
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
