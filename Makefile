# Everything a newcomer runs. Each target sets up .venv by itself and does it once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
# The extra with faiss-cpu or that with faiss-gpu, which own the same module: exactly one of them is installed.
FAISS  ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo detector)
OUT    ?= demo-output
# Tests start detectors beside their own work: threads that wait must not spin on cores that others need. No
# result depends on it.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest
# Half of a test's time it waits for processes and messages: three files at a time keep two cores at work. Which
# of them are run by one worker, and in what order, tests/support/order_support.py says.
THREE  := -n 3 --dist loadfile
# `make CONSTRAINTS=.ci/constraints.txt ...` installs the versions that were tested, else the newest that fit.
PINS   := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))

.PHONY: help demo demo-page packages browser test test-slow test-all check docs bench fuzz soak clean

help:
	@echo "make demo       draw a small production line, stream it through the detector, print the scores"
	@echo "make demo-page  the same line without an end, and the page to watch it on, until Ctrl-C"
	@echo "make test       every kind of proof, in minutes: oracle, golden, stream, wire, sockets, snapshot, replay, demo"
	@echo "make test-slow  the tests that 'make test' leaves out: long streams, kills, load, large networks"
	@echo "make test-all   the whole suite: both in one run"
	@echo "make packages   Debian's chromium, mosquitto, prometheus, cameras, and axe-core: tests of what is missing are skipped"
	@echo "make check      ruff, mypy, import rules"
	@echo "make docs       these pages as a site, in build/site"
	@echo "make bench      measure speed against the published recipe"
	@echo "make fuzz       a long run of malformed messages against a real server"
	@echo "make soak       10,000 frames, memory watched"

$(VENV)/.ready: pyproject.toml .ci/install $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11; set PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python .ci/install $(FAISS) $(PINS)
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/musc-online demo --output $(OUT)

demo-page: $(VENV)/.ready
	$(BIN)/musc-online demo --page --output $(OUT)

packages: $(VENV)/.ready
	.ci/packages $(VENV)

browser: packages

test: $(VENV)/.ready
	$(PYTEST) $(THREE) -m "not slow"

test-slow: $(VENV)/.ready
	$(PYTEST) $(THREE) -m slow

test-all: $(VENV)/.ready
	$(PYTEST) $(THREE)

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Made whole beside it first: a build that fails leaves the site as it was. (--quiet hides warnings from `strict`.)
docs: $(VENV)/.ready
	rm -rf build/site.new
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build -f configs/mkdocs.yml -d $(CURDIR)/build/site.new
	rm -rf build/site && mv build/site.new build/site
	@echo "build/site/index.html"

bench: $(VENV)/.ready
	$(BIN)/python -m bench.speed

fuzz: $(VENV)/.ready
	$(BIN)/python -m bench.fuzz --messages 100000

soak: $(VENV)/.ready
	$(BIN)/python -m bench.soak --frames 10000

clean:
	rm -rf $(VENV) $(OUT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
