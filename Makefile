# Everything a person needs: `make demo` and `make test` on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test nightly lint bench clean

demo: $(STAMP) ## a real search on real data, the winner exported and trained with
	$(BIN)/python experiments/demo/demo.py

test: $(STAMP) ## the whole test suite, under ten minutes on 2 cores
	$(BIN)/python -m pytest -n 2

nightly: $(STAMP) ## the long forms of the random tests
	$(BIN)/python -m pytest -n 2 --profile nightly

lint: $(STAMP) ## ruff, pyright and the layer contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(STAMP) ## measured comparisons, each with its rival in the same run
	$(BIN)/python experiments/search_throughput/bench.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
