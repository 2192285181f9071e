# make setup | train | test | test-all | lint | audit | bench | bench-rewards
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
export OMP_WAIT_POLICY := passive
export KMP_BLOCKTIME := 0

.PHONY: setup train test test-all lint audit bench bench-rewards clean

setup: .venv/.ready

.venv/.ready: requirements/cpu.txt setup.py
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "Sharpen needs Python 3.11 or 3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet pip==26.3 setuptools==77.0.3 wheel
	DS_BUILD_OPS=0 $(BIN)/pip install --quiet --no-deps -r requirements/cpu.txt || { \
	  echo 'If pip found no torch==2.13.0+cpu: add the CPU package index of PyTorch to pip (PIP_EXTRA_INDEX_URL).'; exit 1; }
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

train: setup
	$(BIN)/sharpen run configs/demo/arithmetic.yaml

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not gpu" --durations=20

test-all: setup
	$(BIN)/python -m pytest -m "not gpu"

lint: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

# In an environment of its own, without local versions such as +cpu, which no list of vulnerabilities knows.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit==2.10.1
	sed 's/+[a-z0-9.]*$$//' requirements/cpu.txt > .venv-audit/requirements.txt
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip $(AUDIT_FLAGS) -r .venv-audit/requirements.txt

bench: setup
	$(BIN)/python benchmarks/step.py --json

bench-rewards: setup
	$(BIN)/python benchmarks/rewards.py --json

clean:
	rm -rf .venv .venv-audit build *.egg-info
