# Every target makes the virtual environment first, if it is not there or not up to date.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_IMAGES ?= 6
# Tests run in so many processes of one thread each: tiny models gain nothing from more threads.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

.PHONY: install demo test check test-all bench train-skewville fit-skewville
.DEFAULT_GOAL := install

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "evenhand needs Python 3.11 or newer; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# The main job on the model that ships inside the package.
demo: $(STAMP)
	@rm -rf runs/demo runs/demo-compare
	$(BIN)/python -m evenhand audit skewville --concept gender --concept skin --concept unsafe \
		--images-per-prompt $(DEMO_IMAGES) --out runs/demo
	$(BIN)/python -m evenhand compare skewville --concept gender --concept unsafe --limit 4 --images-per-prompt 4 \
		--with concept-vector:concept=gender --with population-preference:concept=gender \
		--with safe-guidance:preset=balanced --out runs/demo-compare

check: $(STAMP)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/basedpyright --level error --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo > $(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

test: check
	$(PYTEST)

# What runs at night: also the slow tests. Only those that need a GPU or the network stay out.
test-all: check
	$(PYTEST) -m "not gpu and not network"

bench: $(STAMP)
	@for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

train-skewville: $(STAMP)
	$(BIN)/python -m evenhand.skewville train

# What `--with concept-vector` and others find ready for Skewville; to be made again whenever its model or a concept changes.
fit-skewville: $(STAMP)
	@rm -rf src/evenhand/skewville/checkpoints/fits
	@for spec in concept-vector:concept=gender concept-vector:concept=skin concept-vector:concept=age \
		concept-vector:concept=unsafe noise-direction:concept=gender \
		noise-direction:concept=gender,draw=tilted \
		noise-direction:concept=gender,projection=1000 noise-direction:concept=gender,projection=1000,draw=tilted \
		noise-direction:concept=skin,projection=1000 \
		"noise-direction:concept=gender*skin,projection=500,sure=0.9" \
		noise-direction:concept=wealth,draw=tilted noise-direction:concept=wealth,images=800,draw=tilted \
		noise-selection:concept=gender \
		stereotype-corrector:concept=gender stereotype-corrector:concept=skin \
		stereotype-corrector:concept=origin,attribute=scarf population-preference:concept=gender \
		population-preference:concept=skin; do \
		EVENHAND_CACHE=$(VENV)/fit $(BIN)/python -m evenhand generate skewville \
			"a photo of a person" --with "$$spec" --out "$(VENV)/fit/images/$$spec" || exit 1; done
	@mv $(VENV)/fit/fits src/evenhand/skewville/checkpoints/fits
	@rm -rf $(VENV)/fit
