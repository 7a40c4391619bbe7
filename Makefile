# `make demo` and `make test` are all that a newcomer needs; both make the environment first.
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := dev,tasks
PARTS := dsl codegen runtime search evoptim

.PHONY: help demo test nightly lint format bench clean

help: ## say what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ -/'

demo: .venv/ready ## a search on real data, the winner compared, exported and trained with (two minutes)
	$(BIN)/python experiments/demo/demo.py

test: .venv/ready ## the whole test suite (under ten minutes on 2 cores)
	$(BIN)/pytest -n 2

nightly: .venv/ready ## the tests again, their random parts much longer
	$(BIN)/pytest -n 2 --profile nightly

lint: .venv/ready ## ruff, pyright, and the layers between the parts on the built wheel
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel .
	$(BIN)/pyright --pythonpath $(BIN)/python
	cd build && PYTHONPATH=wheel ../$(BIN)/lint-imports --config ../pyproject.toml --no-cache
	rm -rf build

format: .venv/ready ## let ruff format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/ready ## measured comparisons, each with its rival in the same run
	$(BIN)/python experiments/language_speed/bench.py
	$(BIN)/python experiments/optimizer_step/bench.py
	$(BIN)/python experiments/population_update/bench.py
	$(BIN)/python experiments/population_training/bench.py
	$(BIN)/python experiments/search_throughput/bench.py

clean: ## remove what make has made
	rm -rf .venv build dist *.egg-info found.py

# The environment: an editable installation, or the wheel that WHEEL names.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evoptim needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$(if $(WHEEL),"$(WHEEL)[$(EXTRAS)]",--editable ".[$(EXTRAS)]")
	touch .venv/ready
