# Two commands do everything on a fresh machine with Python 3.11+, make and a compiler: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test chaos chaos-index check format lint types unit clean

demo: $(STAMP)
	$(BIN)/backline demo

test: $(STAMP)
	$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest

# Crawls under fire, to at least so many kills: make chaos KILLS=200 [SEED=N]
KILLS ?= 200
chaos: $(STAMP)
	$(BIN)/python tests/chaos/crawl.py --kills $(KILLS) $(if $(SEED),--seed $(SEED))

# Embedding and publishing under fire: make chaos-index KILLS=200 [SEED=N]
chaos-index: $(STAMP)
	$(BIN)/python tests/chaos/index.py --kills $(KILLS) $(if $(SEED),--seed $(SEED))

check: $(STAMP)
	$(MAKE) --no-print-directory format lint types unit

format: $(STAMP)
	$(BIN)/ruff format .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)
	$(BIN)/python -m pytest tests/unit

# constraints.txt pins every version; torch==2.13.0 in it is the CPU build where the index offers one.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
