# Two commands: `make demo` and `make test`. Both install what they need into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SUITE = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n auto --dist worksteal
# Where the default index would give PyTorch's large CUDA build:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test slowest soak test-oldest test-newest fuzz check lint bench docs site clean

help: ## Show these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

install: $(VENV)/.installed ## Make .venv with the package, its extras and the test tools

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "diabolo needs Python 3.11 or newer: make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[plot,pandas,hdf5,root,images,remote,onnx,serve,dask,dev]'
	@touch $@

demo: install ## Fit, calibrate and score the sample of LHC events that ships with the package
	$(BIN)/diabolo demo --out out/demo

# One thread for each of the tests' processes: they already share the cores between them.
test: install ## Run the tests
	$(SUITE)

slowest: install ## Run the tests and list the slowest fifty by CPU seconds (docs/suite.md)
	$(SUITE) -p tests.slowest

soak: install ## Run the slow tests too
	$(BIN)/python -m pytest

# Two more environments, with the versions at both ends of the ranges that pyproject.toml promises. They need the test
# tools and not those for style, whose own floors are higher. Python 3.11 has packages for all of the oldest.
OLDEST_PYTHON ?= python3.11
EXTRAS := plot,pandas,hdf5,root,images,remote,onnx,serve,dask
TOOLS := pytest pytest-xdist hypothesis scikit-hep-testdata==0.3.0 httpx nbclient ipykernel

test-oldest: BIN := .venv-oldest/bin
test-oldest: .venv-oldest/.installed ## Run the tests with the oldest versions allowed
	$(SUITE)

test-newest: BIN := .venv-newest/bin
test-newest: .venv-newest/.installed ## Run the tests with the newest versions there are
	$(SUITE)

.venv-oldest/.installed: pyproject.toml constraints-oldest.txt
	$(OLDEST_PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints-oldest.txt -e '.[$(EXTRAS)]' $(TOOLS)
	@touch $@

# Made anew each time that pyproject.toml changes; `rm -r .venv-newest` asks for what is newest today.
.venv-newest/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --upgrade -e '.[$(EXTRAS)]' $(TOOLS)
	@touch $@

fuzz: install ## Try a million mutations of compressed files, a hundred thousand of model files, others of tables
	cd tests && ../$(BIN)/python fuzz_dbl.py --mutations 1000000
	cd tests && ../$(BIN)/python fuzz_model.py --mutations 100000
	cd tests && ../$(BIN)/python fuzz_tables.py --mutations 20000

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

site: $(VENV)/.site ## Build the site of docs/ into out/site, with the gallery run and every link checked
	$(BIN)/python docs/website.py

# What the site needs and no more: a clean clone spends more on packages than on pages.
$(VENV)/.site: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[plot,pandas,root,serve,site]'
	@touch $@

clean: ## Remove what make made
	rm -rf $(VENV) .venv-oldest .venv-newest out .pytest_cache .mypy_cache .ruff_cache
