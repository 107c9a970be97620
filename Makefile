# Everything from a bare clone. `make` lists the verbs; each does its own set-up and is quick the second time.
PYTHON ?= python3
VENV   ?= .venv
RUN    := $(VENV)/bin/python
READY  := $(VENV)/.ready
TRIES  ?= 3
RESULTS ?= results/local  # of your runs, where git ignores them; results/ itself holds the project's own

.DEFAULT_GOAL := help
.PHONY: help install sweep test lint bench report clean mechanisms loop planning store

help:  ## list the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

install: $(READY)  ## a virtual environment with attnbench and the tested versions

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "attnbench needs Python 3.11 or newer")'
	@echo "installing attnbench and its packages into $(VENV): torch alone is some GB, the first time takes minutes"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	for try in $$(seq $(TRIES)); do \
	  $(RUN) -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' && exit 0; \
	  echo "installation failed, try $$try of $(TRIES)" >&2; \
	done; exit 1
	touch $@

ifeq ($(filter bench,$(MAKECMDGOALS)),)
sweep: $(READY)  ## run the default experiment into results/local/ (EXPERIMENT=name, ARGS="key=value ...", RESULTS=folder)
	$(RUN) -m attnbench sweep experiment=$(or $(EXPERIMENT),quick) results=$(strip $(RESULTS)) $(ARGS)
else
sweep: bench
	@:
endif

test: $(READY)  ## run the tests (ARGS="-m slow": the slowest; ARGS="-n 0 -m slurm": on a Slurm of its own)
	$(RUN) -m pytest -n auto -m "not slow and not slurm" $(ARGS)

lint: $(READY)  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY)  ## measure our speed: make bench, make bench mechanisms (planning, store, sweep)
	$(RUN) -m attnbench bench $(or $(filter mechanisms loop planning store sweep,$(MAKECMDGOALS)),loop) $(ARGS)

mechanisms loop planning store: bench
	@:

report: $(READY)  ## write the leaderboards from the records of your runs (RESULTS=folder)
	$(RUN) -m attnbench report results=$(strip $(RESULTS))

clean:  ## remove the environment, caches and checkpoints; never results/
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache build dist *.egg-info
	find attnbench benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
