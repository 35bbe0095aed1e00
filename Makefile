# Each target sets up what it needs by itself: a machine has Python >= 3.11, make, git, an index.
STUDY ?= demo
RESULTS ?= results
PYTHON ?= python3
UV_VERSION = 0.13.8

# What a make variable may carry to the command line, e.g. make sweep SET="finetune.epochs=1"
OPTIONS = --results $(RESULTS)
STUDY_OPTIONS = $(OPTIONS) --study $(STUDY) $(if $(DATA),--data "$(DATA)") \
	$(foreach pair,$(GRID),--grid "$(pair)") $(foreach pair,$(SET),--set "$(pair)")

# Some images switch bytecode off; then every Ray worker compiles torch anew, which takes seconds.
RUN = env -u PYTHONDONTWRITEBYTECODE .venv/bin/python
UV = .tools/bin/uv
SYNC = UV_COMPILE_BYTECODE=1 $(UV) sync --locked --python $(PYTHON) --inexact

.PHONY: sweep plan ui report register sync test check format bench dreamsim lpips oracles clean help
.DEFAULT_GOAL := help

help:
	@echo "make sweep [STUDY=demo] [DATA=folder] [GRID=rate=0.5,0.8] [SET=finetune.epochs=1]"
	@echo "make plan report register ui sync test check bench   (the same variables)"

sweep: .venv/ready
	@$(RUN) -m sweeps sweep $(STUDY_OPTIONS)

plan: .venv/ready
	@$(RUN) -m sweeps plan $(STUDY_OPTIONS)

report: .venv/ready
	@$(RUN) -m sweeps report $(OPTIONS) --study $(STUDY)

# The best network of every method and rate into MLflow's model registry.
register: .venv/ready
	@$(RUN) -m sweeps register $(OPTIONS) --study $(STUDY)

ui: .venv/ready
	@$(RUN) -m sweeps ui $(OPTIONS)

# Deliver to MLflow what sweeps could not while it was away.
sync: .venv/ready
	@$(RUN) -m sweeps sync $(OPTIONS)

# A process a core, a thread a process: together faster than one of two threads.
test: .venv/ready
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What CI runs.
check: .venv/ready
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(MAKE) test

format: .venv/ready
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: .venv/ready
	$(RUN) -m benchmarks $(NAME)

# The perceptual spaces of the papers; their weights come from the internet at first use.
dreamsim lpips: .venv/ready
	$(SYNC) --extra $@

# Our LRP against others' (captum, zennit): the tests that are skipped without them.
oracles: .venv/ready
	$(SYNC) --group oracles
	$(RUN) -m pytest tests/pruning/test_relevance.py -k "captum or zennit"

.venv/ready: pyproject.toml uv.lock | $(UV)
	$(SYNC)
	@touch $@

$(UV):
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3')"
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet uv==$(UV_VERSION)

clean:
	rm -rf .venv .tools results
