# Each target sets up what it needs by itself: a machine has Python >= 3.11, make, git, an index.
RESULTS ?= results
PYTHON ?= python3
UV_VERSION = 0.13.8

# Values reach Python by the environment as they were typed: neither make nor a shell reads them, so
# that blanks, quotes and backquotes are nothing special. `$$` is one `$`, as everywhere in make.
define as_typed
override $(1) := $$(subst $$$$$$$$,$$$$,$$(value $(1)))
export $(1)
endef
# Names that an environment may have for other purposes count only where they are given to make.
override GIVEN := PORT SPEED GPUS CPUS STOP NAME FILE TRIAL TO CACHES OLDER_THAN LARGER_THAN REMOVE THEN
$(foreach name,$(GIVEN),$(if $(filter command,$(origin $(name))),,$(eval override undefine $(name))))
$(foreach name,STUDY RESULTS DATA GRID SET PYTHON $(GIVEN),\
	$(if $(filter-out undefined,$(origin $(name))),$(eval $(call as_typed,$(name)))))

# Some images switch bytecode off; then every Ray worker compiles torch anew, which takes seconds.
RUN = env -u PYTHONDONTWRITEBYTECODE .venv/bin/python
UV = .tools/bin/uv
SYNC = $(UV) sync --locked --python "$$PYTHON" --inexact

.PHONY: sweep plan new ui report register export sync status clean-results test test-slow test-all check format bench dreamsim lpips timm onnx oracles clean help
.DEFAULT_GOAL := help

help:
	@echo 'make sweep [STUDY=demo|mine.py] [RESULTS=folder] [DATA=folder] [GRID="rate=0.5,0.8"] [SET="seed=1"] [STOP=1|best]'
	@echo '           [THEN="mail -s done me < /dev/null"]   run at the end, however it ends'
	@echo 'make plan   the same but for THEN, and [SPEED=train,evaluate] [GPUS=8] [CPUS=64]'
	@echo 'make new FILE=mine.py   begins a study of your own'
	@echo 'make report, register [STUDY=demo]; make sync, status; make ui [PORT=5000]   each with [RESULTS=folder]'
	@echo 'make export TRIAL="structured 0.5 one_shot" [STUDY=demo] [TO=folder] [RESULTS=folder]'
	@echo 'make clean-results [CACHES=yes] [OLDER_THAN=days] [LARGER_THAN=1GB]   lists what nobody needs; REMOVE=yes'
	@echo 'make test, test-slow, test-all, check, format, bench [NAME=table]; make clean   removes .venv and .tools'

sweep: .venv/ready
	@$(RUN) -m sweeps.make sweep

plan: .venv/ready
	@$(RUN) -m sweeps.make plan

# A study of your own to begin with.
new: .venv/ready
	@$(RUN) -m sweeps.make new

report: .venv/ready
	@$(RUN) -m sweeps.make report

# The best network of every method and rate into MLflow's model registry.
register: .venv/ready
	@$(RUN) -m sweeps.make register

# A trial's network as files that need no Secateur, with what it takes beside the dense one.
export: .venv/ready
	@$(RUN) -m sweeps.make export

ui: .venv/ready
	@$(RUN) -m sweeps.make ui

# Deliver to MLflow what sweeps could not while it was away.
sync: .venv/ready
	@$(RUN) -m sweeps.make sync

# What runs, what is done, what waits, and what it takes on the disk.
status: .venv/ready
	@$(RUN) -m sweeps.make status

# What nobody needs of a results folder: listed, and removed with REMOVE=yes. Not `clean`, which is
# of this checkout.
clean-results: .venv/ready
	@$(RUN) -m sweeps.make clean

# A process per core, a thread per process: together faster than one of two threads.
PYTEST = OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The heart of every promise: under ten minutes on two quiet cores.
test: .venv/ready
	$(PYTEST) -m "not slow and not long"

# The second rank: with `check` what CI runs.
test-slow: .venv/ready
	$(PYTEST) -m "slow and not long"

# Both, and those that take minutes each (every network, two studies at once, the wheel on a
# cluster), beside the packages that ours are held against.
test-all: .venv/ready
	$(SYNC) --group oracles --extra lpips --extra timm --extra onnx
	$(PYTEST)

# What a change must pass.
check: .venv/ready
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(MAKE) test

format: .venv/ready
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

bench: .venv/ready
	$(RUN) -m benchmarks $$NAME

# The perceptual spaces of the papers, and timm's networks, whose weights come from the internet at
# first use; and what `make export` needs for ONNX.
dreamsim lpips timm onnx: .venv/ready
	$(SYNC) --extra $@

# Our LRP against others' (captum, zennit): the tests that are skipped without them.
oracles: .venv/ready
	$(SYNC) --group oracles
	$(RUN) -m pytest tests/pruning/test_relevance.py tests/pruning/test_relevance_rules.py -k "captum or zennit"

.venv/ready: pyproject.toml uv.lock | $(UV)
	$(SYNC)
	@touch $@

$(UV):
	@"$${PYTHON:?must name a Python}" -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3')"
	"$$PYTHON" -m venv .tools
	.tools/bin/python -m pip install --quiet uv==$(UV_VERSION)

# What this Makefile has set up; what sweeps have found stays.
clean:
	rm -rf .venv .tools
	@echo 'results/ and what is elsewhere is left: it may have taken weeks (make clean-results is of these)'
