# The first working Python from 3.11 to 3.13; `make PYTHON=...` chooses another.
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/ready

.PHONY: sweep test test-slow ui bench gpu lint lock clean

sweep: $(READY)
	$(BIN)/harness train experiment=house_prices sweep=full_vs_batch

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The order is kept because the files with the fewest tests take longest, and would otherwise be run last.
test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow

ui: $(READY)
	$(BIN)/harness ui

bench: $(READY)
	$(BIN)/python -m experiments.benchmark $(BENCH)

# On a machine with an NVIDIA GPU: CUDA's libraries, the tests that need a GPU, and the GPU rows of the benchmark.
gpu: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[gpu]'
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python -m experiments.benchmark.gpu $(BENCH)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Pin versions and hashes of all packages, for all platforms and Python versions.
lock:
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra dev --no-emit-index-url \
		--custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean:
	rm -rf .venv

$(READY): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 with venv is required; choose one with make PYTHON=..."; exit 1; }
	@echo "Installing into .venv, which takes a few minutes."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(READY)
