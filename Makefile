# GNU make and bash. A target with a ## comment is listed by `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-slow test-long test-faults test-browser test-pictures \
  test-pillow test-device test-python test-pythons test-mxnet2 test-wheel test-gpu coverage gpu \
  gpu-check lint bench fuzz bench-pytorch bench-gpu weights images figures fig1 fig2 fig3 fig4 \
  clean test-numbers soak test-lock audit lock mutants

PYTHON := .venv/bin/python
NST := $(PYTHON) -m nst_cli
STAMP := .venv/.installed
TOOLS := .venv/.tools

# TESTS are pytest's arguments, such as 'tests/test_vgg.py -x'.
TESTS :=
QUICK := not slow and not long and not browser and not gpu and not gpu_check
# Tests run on all cores: one process for each, whose arithmetic has one thread. The tests of one
# file share a process, and what they prepare.
CORES := $(shell nproc)
PARALLEL := OMP_NUM_THREADS=1

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

venv: $(TOOLS) ## Make the environment .venv, which can run, test and lint nst

# The demo does not wait for packages that only the tests need.
SETUP := setup.cfg setup.py pyproject.toml nst_cli/__init__.py tools/environment.sh \
  requirements/build.txt requirements/run.txt requirements/dev.txt

$(STAMP): $(SETUP)
	@tools/environment.sh .venv
	@touch $@

$(TOOLS): $(STAMP)
	@tools/environment.sh .venv test,lint,coverage
	@touch $@

demo: $(STAMP) ## Stylise the sample pair: a picture in one or two minutes
	@$(PYTHON) tools/demo.py "$$PWD/out/demo.png"

test: $(TOOLS) ## Run the tests; quick and offline
	@$(PARALLEL) $(PYTHON) -m pytest -n $(CORES) --dist loadfile -m '$(QUICK)' $(TESTS)

test-slow: $(TOOLS) ## Run the tests that need the real weights: set NST_WEIGHTS
	@$(PARALLEL) $(PYTHON) -m pytest -n $(CORES) -m slow

test-long: $(TOOLS) ## Resume runs at many points, which takes many minutes
	@$(PYTHON) -m pytest -m long --ignore tests/test_numbers.py --ignore tests/test_faults.py

test-numbers: $(TOOLS) ## Try every method, optimiser and precision on extreme pictures: an hour
	@$(PARALLEL) $(PYTHON) -m pytest -n $(CORES) -m long tests/test_numbers.py

soak: $(STAMP) ## Make runs for hours, and check that nothing grows or is left behind
	@for what in 'runs' 'runs --kit' 'view' 'steps' 'batch'; do \
	  echo "soak $$what:"; $(PARALLEL) $(PYTHON) benchmarks/soak.py $$what; \
	done

test-faults: $(TOOLS) ## Kill, fill and limit whatever a run needs, which takes many minutes
	@$(PYTHON) -m pytest -m long tests/test_faults.py

test-browser: $(TOOLS) ## Run the tests of pages in an installed Chromium
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[browser]'
	@$(PYTHON) -m pytest -m browser -rs

gpu: $(STAMP) ## Install MXNet's CUDA build for this machine's NVIDIA card
	@$(NST) gpu install

test-gpu: $(TOOLS) ## Compare the GPU with the CPU: losses, gradients, runs
	@$(PYTHON) -m pytest -m gpu -rs tests/test_gpu.py

gpu-check: $(TOOLS) ## Install MXNet's CUDA build in build/gpu and load it; needs no card
	@$(NST) gpu install --no-card --dir build/gpu
	@NST_GPU=build/gpu $(PYTHON) -m pytest -m gpu_check -rs

test-device: $(TOOLS) ## Run the tests on a device other than MXNet's default
	@NST_TEST_DEVICE=cpu:1 $(PYTHON) -m pytest -m '$(QUICK)' $(TESTS)

PYTHON_VERSION := 3.13
OTHER := build/python$(PYTHON_VERSION)

$(OTHER)/.installed: $(SETUP)
	@tools/environment.sh $(OTHER) test $(PYTHON_VERSION)
	@touch $@

test-python: $(OTHER)/.installed ## Run the tests on PYTHON_VERSION, in an environment of its own
	@$(PARALLEL) $(OTHER)/bin/python -m pytest -n $(CORES) --dist loadfile -m 'not long and not browser and not gpu and not gpu_check' $(TESTS)

# One Python after another: a line for each here, all of its output in build/pythonX.Y.log.
test-pythons: ## Run the tests on each Python from 3.9 on that this machine has
	@mkdir -p build; code=0; \
	for version in $$(tools/environment.sh --versions); do \
	  log=build/python$$version.log end=; \
	  $(MAKE) test-python PYTHON_VERSION=$$version >$$log 2>&1 || code=1 end="; failed, see $$log"; \
	  count=$$(sed -nE 's/^=* ?([0-9]+ (passed|failed|error).*[^ =]) ?=*$$/\1/p' $$log | tail -n 1); \
	  echo "Python $$version: $${count:-no tests ran}$$end"; \
	done; exit $$code

# nst requires 1.9.1, so pip installs MXNet 2 without checking requirements.
MXNET2 := build/mxnet2

$(MXNET2)/.installed: $(STAMP)
	@echo "Installing nst with MXNet 2, about 150 MB, into $(MXNET2)."
	@$(PYTHON) -m venv --clear $(MXNET2)
	@$(MXNET2)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@$(MXNET2)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mxnet==2.0.0b1
	@touch $@

test-mxnet2: $(MXNET2)/.installed ## Run the tests under MXNet 2, in an environment of its own
	@$(PARALLEL) $(MXNET2)/bin/python -m pytest -n $(CORES) --dist loadfile \
	  -m 'not long and not browser and not gpu and not gpu_check' $(TESTS)

# Any folder with any files; none is expected to be a picture.
FOLDER :=

test-pictures: $(TOOLS) ## Read, resize and write every file of FOLDER=…, each in a process
	@: $${FOLDER:?name the folder: make test-pictures FOLDER=...}
	@PYTHONPATH=. $(PYTHON) tests/try_pictures.py "$$FOLDER"

# The least that setup.cfg allows, for Python 3.9, and the newest.
PILLOWS := 10.4.0 latest
PICTURES := $(patsubst %,tests/test_%.py,images formats tiff png jpeg broken_headers bombs arrays writing)

test-pillow: $(TOOLS) ## Run the tests of pictures under the oldest and the newest Pillow
	@for version in $(PILLOWS); do \
	  place=build/pillow-$$version; \
	  [ -x $$place/bin/python ] || $(PYTHON) -m venv $$place; \
	  $$place/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	    'numpy<2' click tqdm tomli pytest pytest-timeout hypothesis \
	    "pillow$$([ $$version = latest ] || echo "==$$version")"; \
	  PYTHONPATH=. $$place/bin/python -m pytest $(PICTURES); \
	done

test-wheel: $(STAMP) ## Build the wheel and try it in an empty environment
	@tools/try-wheel.sh $(PYTHON) build/wheel

test-lock: $(STAMP) ## The same, with the packages of requirements/run.txt, as in docker/Dockerfile
	@tools/try-wheel.sh $(PYTHON) build/locked requirements

coverage: $(TOOLS) ## Run the tests and report the share of lines that they reach
	@$(PYTHON) -m pytest -m '$(QUICK)' --cov $(if $(TESTS),--cov-fail-under=0) $(TESTS)

# Kinds of inputs, modules of tests/fuzz, and how many inputs of each. FILES are tried alone.
FUZZ := weights options batches logs records marks checkpoints pictures
COUNT := 100000
FILES :=
FUZZING := build/fuzz-environment

$(FUZZING)/.installed: $(SETUP)
	@tools/environment.sh $(FUZZING) test 3.11
	@$(FUZZING)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $@

# Each kind has a line of results here, all of its output in build/fuzz/KIND/log.
fuzz: $(FUZZING)/.installed ## Try COUNT broken inputs of each kind in FUZZ=…, which takes hours
	@code=0; \
	for kind in $(FUZZ); do \
	  mkdir -p build/fuzz/$$kind; log=build/fuzz/$$kind/log; end=; \
	  PYTHONPATH=.:tests $(FUZZING)/bin/python -m fuzz.$$kind --count $(COUNT) $(FILES) >$$log 2>&1 \
	    || code=1 end="; failed, see $$log"; \
	  count=$$(sed -nE 's/^stat::number_of_executed_units: *//p' $$log); \
	  edges=$$(sed -nE 's/^#.* cov: ([0-9]+) .*/\1/p' $$log | tail -n 1); \
	  echo "$$kind: $${count:-some} inputs, $${edges:-0} edges$$end"; \
	done; exit $$code

# make lock UPGRADE=--upgrade takes the newest versions; without it, those that still fit stay.
UPGRADE :=

lock: $(STAMP) ## Pin packages in requirements/*.txt with their hashes, after a change of setup.cfg
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[lock]'
	@tools/lock.sh .venv/bin/uv $(UPGRADE)

audit: $(TOOLS) ## Ask for known vulnerabilities of the pinned packages; needs the network
	@$(PYTHON) tools/audit.py

# Results stay in build/mutants, and what has one is not run again.
mutants: $(TOOLS) ## Change the code of losses and optimisers in one place after another: hours
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[mutants]'
	@$(PYTHON) tools/mutants.py build/mutants $(MUTANTS)

lint: $(TOOLS) ## Check code, types, spelling, wording, the Dockerfile and the pinned packages
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@.venv/bin/codespell
	@$(PYTHON) tools/prose.py
	@if [ -x .venv/bin/mypy ]; then \
	  .venv/bin/mypy; \
	else \
	  echo "mypy needs Python 3.10 or later: types are not checked."; \
	fi
	@if [ -x .venv/bin/hadolint ]; then \
	  .venv/bin/hadolint docker/Dockerfile; \
	else \
	  echo "hadolint has no build for this machine: docker/Dockerfile is not checked."; \
	fi
	@$(PYTHON) tools/audit.py

bench: $(STAMP) ## Measure preset fast against preset paper, step costs and memory
	@$(NST) bench
	@$(PYTHON) benchmarks/step_cost.py
	@$(PYTHON) benchmarks/memory.py

bench-pytorch: $(STAMP) ## Measure PyTorch too; installs it into .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PYTHON) benchmarks/pytorch.py

bench-gpu: $(STAMP) ## Measure a GPU, and PyTorch on it; installs it into .venv
	@$(PYTHON) benchmarks/gpu.py --check
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PYTHON) benchmarks/gpu.py

weights: $(STAMP) ## Download the weights of VGG-19 to the user's cache
	@$(NST) weights fetch

FIGURES := out/figures
FIGURE_OPTIONS :=

fig1 fig2 fig3 fig4: $(STAMP) ## Make a figure of the paper: fig1 to fig4
	@$(NST) figure $(@:fig%=%) -o $(FIGURES) $(FIGURE_OPTIONS)

figures: fig1 fig2 fig3 fig4 ## Make all four figures; resumes after an interruption

images: $(STAMP) ## Download the pictures of the paper's figures to images
	@$(PYTHON) tools/pictures.py images

clean: ## Remove environments, builds and caches; pictures and weights stay
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache htmlcov .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
