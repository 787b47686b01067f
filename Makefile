# GNU make and bash. A target with a ## comment is listed by `make help`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-slow test-browser test-pictures test-pillow test-device test-mxnet2 test-gpu gpu gpu-check lint bench bench-pytorch \
  bench-gpu weights images figures fig1 fig2 fig3 fig4 clean

PYTHON := .venv/bin/python
NST := $(PYTHON) -m nst_cli
STAMP := .venv/.installed

VERSIONS := 3.12 3.11 3.10 3.9
FITS := import sys; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 12))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

venv: $(STAMP) ## Make the environment .venv with everything that is needed

# Names are tried by running them: a pyenv shim, or Debian's Python without its venv package, is
# on the PATH and does not work.
$(STAMP): setup.cfg setup.py pyproject.toml nst_cli/__init__.py
	@if ! $(PYTHON) -c 'import pip; $(FITS)' 2>/dev/null; then \
	  python= lacking=; \
	  while IFS= read -r candidate; do \
	    "$$candidate" -c '$(FITS)' 2>/dev/null || continue; \
	    if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then \
	      python=$$candidate; \
	      break; \
	    fi; \
	    lacking=$${lacking:-$$candidate}; \
	  done < <(type -aP $(VERSIONS:%=python%) python3 python); \
	  if [ -n "$$python" ]; then \
	    echo "Making .venv with $$python."; \
	    "$$python" -m venv --clear .venv; \
	  elif type -P uv >/dev/null; then \
	    echo "Making .venv with uv."; \
	    rm -rf .venv; \
	    uv venv --quiet --seed --python 3.12 .venv; \
	  elif [ -n "$$lacking" ]; then \
	    echo "$$lacking cannot make environments: install its venv package" \
	      "(Debian, Ubuntu: apt install python3-venv), or uv (https://docs.astral.sh/uv)." >&2; \
	    exit 1; \
	  else \
	    echo "No Python from 3.9 to 3.12 found, which is what MXNet runs on: install one, or" \
	      "uv (https://docs.astral.sh/uv), which gets its own." >&2; \
	    exit 1; \
	  fi; \
	fi
	@echo "Installing nst and what it needs, about 100 MB, into .venv."
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

# From noise the built-in bank draws more strokes than from the content, where `fast` starts.
demo: $(STAMP) ## Stylise the sample pair: a picture in a few minutes
	@how='--preset fast --size 400'; \
	if [ -z "$${NST_WEIGHTS:-}" ] && ! $(NST) weights path >/dev/null 2>&1; then \
	  echo "Fetching the weights of VGG-19, 80 MB."; \
	  $(NST) weights fetch >/dev/null || { \
	    status=$$?; \
	    [ $$status -ne 130 ] || exit 130; \
	    echo "Without the trained network, the demo goes on with the built-in filter bank:" \
	      "colours and brush strokes come through, objects' textures do not."; \
	    how='--weights builtin --size 320 --iterations 200'; \
	  }; \
	fi; \
	mkdir -p out; \
	content=$$($(PYTHON) -c 'from nst_cli import samples; print(samples.CONTENT)'); \
	style=$$($(PYTHON) -c 'from nst_cli import samples; print(samples.STYLES[0])'); \
	$(NST) stylize "$$content" "$$style" -o out/demo.png $$how \
	  >/dev/null; \
	echo "The picture is $$PWD/out/demo.png: $$content in the style of $$style."

test: $(STAMP) ## Run the tests; quick and offline
	@$(PYTHON) -m pytest -m 'not slow and not browser and not gpu and not gpu_check'

test-slow: $(STAMP) ## Run the tests that need the real weights: set NST_WEIGHTS
	@$(PYTHON) -m pytest -m slow

test-browser: $(STAMP) ## Run the tests of pages in a Chromium that is installed
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[browser]'
	@$(PYTHON) -m pytest -m browser -rs

gpu: $(STAMP) ## Install MXNet's CUDA build for this machine's NVIDIA card
	@$(NST) gpu install

test-gpu: $(STAMP) ## Compare the GPU with the CPU: losses, gradients, runs
	@$(PYTHON) -m pytest -m gpu -rs tests/test_gpu.py

gpu-check: $(STAMP) ## Install MXNet's CUDA build in build/gpu and load it; needs no card
	@$(NST) gpu install --no-card --dir build/gpu
	@NST_GPU=build/gpu $(PYTHON) -m pytest -m gpu_check -rs

test-device: $(STAMP) ## Run the tests on another device than MXNet's default
	@NST_TEST_DEVICE=cpu:1 $(PYTHON) -m pytest -m 'not slow and not browser and not gpu and not gpu_check'

# nst asks for 1.9.1, so pip is not asked whether MXNet 2 fits. TESTS are pytest's arguments.
MXNET2 := build/mxnet2
TESTS :=

$(MXNET2)/.installed: $(STAMP)
	@echo "Installing nst with MXNet 2, about 150 MB, into $(MXNET2)."
	@$(PYTHON) -m venv --clear $(MXNET2)
	@$(MXNET2)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@$(MXNET2)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mxnet==2.0.0b1
	@touch $@

test-mxnet2: $(MXNET2)/.installed ## Run the tests under MXNet 2, in an environment of its own
	@$(MXNET2)/bin/python -m pytest \
	  -m 'not browser and not gpu and not gpu_check' $(TESTS)

# Of the user's choice, and of any kind: no file is expected to be a picture.
FOLDER :=

test-pictures: $(STAMP) ## Read, resize and write every file of FOLDER=…, each in a process
	@: $${FOLDER:?name the folder: make test-pictures FOLDER=...}
	@PYTHONPATH=. $(PYTHON) tests/try_pictures.py "$$FOLDER"

# The least that setup.cfg allows, and the newest.
PILLOWS := 10.4.0 latest

test-pillow: $(STAMP) ## Run the tests of pictures under the oldest and the newest Pillow
	@for version in $(PILLOWS); do \
	  place=build/pillow-$$version; \
	  [ -x $$place/bin/python ] || $(PYTHON) -m venv $$place; \
	  $$place/bin/python -m pip install --quiet --disable-pip-version-check --upgrade \
	    'numpy<2' click tqdm tomli pytest pytest-timeout hypothesis \
	    "pillow$$([ $$version = latest ] || echo "==$$version")"; \
	  PYTHONPATH=. $$place/bin/python -m pytest tests/test_images.py tests/test_formats.py; \
	done

lint: $(STAMP) ## Check the code with ruff, and the Dockerfile with hadolint
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@if [ -x .venv/bin/hadolint ]; then \
	  .venv/bin/hadolint docker/Dockerfile; \
	else \
	  echo "There is no hadolint for this machine: docker/Dockerfile is not checked."; \
	fi

bench: $(STAMP) ## Measure preset fast against preset paper, step costs and memory
	@$(NST) bench
	@$(PYTHON) benchmarks/step_cost.py
	@$(PYTHON) benchmarks/memory.py

bench-pytorch: $(STAMP) ## Measure beside PyTorch, which it installs into .venv
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PYTHON) benchmarks/pytorch.py

bench-gpu: $(STAMP) ## Measure a GPU beside PyTorch on it, which it installs into .venv
	@$(PYTHON) benchmarks/gpu.py --check
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(PYTHON) benchmarks/gpu.py

weights: $(STAMP) ## Download the weights of VGG-19 to the user's cache
	@$(NST) weights fetch

FIGURES := out/figures
FIGURE_OPTIONS :=

fig1 fig2 fig3 fig4: ## Make a figure of the paper: fig1 to fig4

figures: fig1 fig2 fig3 fig4 ## Make all four; goes on where it was interrupted

# Their pictures are targets of their own, by rules that nst prints.
ifneq ($(filter fig%,$(MAKECMDGOALS)),)
include $(FIGURES)/rules.mk
endif

$(FIGURES)/rules.mk: $(STAMP) nst_cli/views/figures.py nst_cli/cli/figure.py
	@mkdir -p $(FIGURES)
	@for n in 1 2 3 4; do $(NST) figure $$n -o $(FIGURES) $(FIGURE_OPTIONS) --rules; done >$@

images: $(STAMP) ## Download the pictures of the paper's figures to images
	@$(PYTHON) -m nst_cli.pictures images

clean: ## Remove the environment and what is built or cached; pictures and weights stay
	rm -rf .venv build dist *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
