# Two commands on a fresh machine with Python >= 3.11 and make: `make test` and `make book`.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
SEEDS ?= 4
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
NBVAL := --nbval-lax --nbval-current-env --nbval-cell-timeout 180

.PHONY: test book serve bench sweep new notebooks article full lint clean

$(VENV)/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -r requirements.txt
	@touch $@

test: $(VENV)/installed  ## every test: lib, contract of the articles, every notebook
	$(BIN)/python -m tools.line_budget
	$(PYTEST) $(NBVAL) tests notebooks

book: $(VENV)/installed  ## the site in _build/html; executes only what the cache lacks
	$(BIN)/python -m tools.export_notebooks --check
	$(BIN)/python -m tools.run_notebooks --missing
	$(BIN)/jupyter-book build . --all -W --keep-going -n
	$(BIN)/python -m tools.check_site _build/html
	@echo "open file://$(CURDIR)/_build/html/index.html"

serve: book  ## the site on http://localhost:8000
	$(BIN)/python -m http.server 8000 --bind 127.0.0.1 --directory _build/html

article: $(VENV)/installed  ## execute one article: make article SLUG=rope-2d
	$(BIN)/python -m tools.export_notebooks
	$(BIN)/python -m tools.run_notebooks $(SLUG)

full: $(VENV)/installed  ## run one article at full scale and keep its record: make full SLUG=rope-2d
	BOOK_MODE=full $(BIN)/python -m tools.full_run $(SLUG)

bench: $(VENV)/installed  ## benchmarks against peers, ratios measured in one run
	@for f in benchmarks/[a-z]*.py; do echo "== $$f"; $(BIN)/python -m benchmarks.$$(basename $$f .py) || exit 1; done

sweep: $(VENV)/installed  ## the book under several seeds; how often each verdict held: make sweep SEEDS=5
	$(BIN)/python -m tools.sweep $(SEEDS)

new: $(VENV)/installed  ## scaffold an article: make new SLUG=rope-2d PART=positions
	$(BIN)/python -m tools.new_article $(SLUG) $(PART)

notebooks: $(VENV)/installed  ## export book/ to notebooks/
	$(BIN)/python -m tools.export_notebooks

lint: $(VENV)/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python

clean:  ## remove the built site and the execution cache, keep the virtual environment
	rm -rf _build
