# Everything a person types. Each target sets up what it needs by itself; `make` alone lists them.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos -name '*.proto' -not -path '*/node_modules/*')
BUF := protos/node_modules/.bin/buf
PAGE := gateway/webui
PAGE_SOURCES := $(shell find $(PAGE) -type f -not -path '*/node_modules/*' -not -path '$(PAGE)/dist/*')

HOST ?= 127.0.0.1
PORT ?= 8000
MODEL ?= tiny
# `make setup WEBUI=off` leaves the web page out: no npm, and /webui says how to build it.
WEBUI ?= on
# What `make test` runs: `make test TESTS=tests/dataset`, `make test PYTEST_FLAGS='-x -k segment'`. Two processes are a third
# faster than one on two cores; a file's tests stay together, as they share what is slow to start. The stand-in models that
# they need are made once and kept (TIMBRE_TEST_CACHE).
TESTS ?= tests
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help setup protos webui types run demo test lint format bench docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)$$/\1	\2/' | expand -t 12

setup: $(VENV)/.project gen/.made webui  ## make the virtual environment (.venv) with everything in it

protos: gen/.made  ## generate gen/ from protos/

ifeq ($(WEBUI),off)
webui:
	@echo "The web page is left out (WEBUI=off): make setup builds it."
else
webui: $(PAGE)/dist/.made  ## build the web page; make setup WEBUI=off leaves it out
endif

types: setup $(PAGE)/node_modules/.made  ## write the types of the web page anew from the OpenAPI document
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/page_types.py

run: setup  ## start everything: make run, make run PORT=8123
	@exec $(BIN)/timbre serve --host $(HOST) --port $(PORT)

demo: setup  ## run the whole workflow: make demo, make demo MODEL=xtts_v2
	@exec $(BIN)/timbre demo --model $(MODEL)

test: setup $(VENV)/checkov/.made  ## run every test
	OMP_NUM_THREADS=1 TIMBRE_TEST_CACHE="$${TIMBRE_TEST_CACHE:-$(CURDIR)/.timbre/test-models}" \
	  $(BIN)/pytest $(PYTEST_FLAGS) $(TESTS)

lint: setup $(BUF) $(PAGE)/node_modules/.made  ## ruff, mypy and buf; tsc and biome for the web page
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BUF) lint protos
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python docs/page_types.py --check
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm run --silent --prefix $(PAGE) check

format: setup $(PAGE)/node_modules/.made  ## let ruff and biome rewrite what they can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm run --silent --prefix $(PAGE) format

bench: setup  ## run every script in benchmarks/
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

docs: setup  ## write the file tree at the end of README.md anew
	$(BIN)/python docs/tree.py

lock: $(VENV)/.uv  ## write requirements.lock anew from pyproject.toml, moving as few versions as possible
	$(BIN)/uv pip compile --quiet --no-header --no-emit-index-url --all-extras pyproject.toml --output-file requirements.lock
	echo checkov | $(BIN)/uv pip compile --quiet --no-header --no-emit-index-url --no-annotate - --output-file deploy/k8s/checkov.lock

clean:  ## remove what was made here: .venv, gen/ and caches (data stays)
	rm -rf $(VENV) gen protos/node_modules $(PAGE)/node_modules $(PAGE)/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ── what the targets above are made of: a file each, so that a second run finds nothing to do ─────────────────────────

$(VENV)/.uv:
	@python=; for candidate in $(PYTHON) python3.11 python3 python; do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Timbre needs Python 3.11, and none was found on PATH: install it, or name it with make PYTHON=/path/to/python3.11." >&2; exit 1; \
	fi; \
	"$$python" -m venv --clear $(VENV) || { \
	  echo "$$python could not make a virtual environment: its venv module is missing (Debian and Ubuntu: python3.11-venv)." >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements.lock)"
	@touch $@

# Compiled here, once: the first of many processes would else start slowly, and all of them where none may write bytecode.
$(VENV)/.packages: requirements.lock | $(VENV)/.uv
	@echo "Installing what requirements.lock names into $(VENV) (about 7 GB)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --requirements requirements.lock
	@touch $@

# after gen/: a wheel, and with it the editable one, holds the generated code
$(VENV)/.project: pyproject.toml $(VENV)/.packages gen/.made
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

gen/.made: $(PROTOS) $(VENV)/.packages
	@mkdir -p gen
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I protos \
	  --python_out=gen --grpc_python_out=gen --mypy_out=quiet:gen --mypy_grpc_out=quiet:gen $(PROTOS)
	@touch $@

# The policy lint of the manifests pins packages that clash with ours: it has an environment of its own.
$(VENV)/checkov/.made: deploy/k8s/checkov.lock | $(VENV)/.uv
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(@D)/bin/python --requirements deploy/k8s/checkov.lock
	@touch $@

$(BUF): protos/package.json $(VENV)/.packages
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm install --silent --ignore-scripts --prefix protos
	@touch $@

$(PAGE)/node_modules/.made: $(PAGE)/package-lock.json $(PAGE)/package.json $(PAGE)/.npmrc $(VENV)/.packages
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --silent --ignore-scripts --prefix $(PAGE) || { \
	  echo "The web page's packages cannot be fetched by npm: try again, or leave the page out with WEBUI=off." >&2; exit 1; }
	@touch $@

$(PAGE)/dist/.made: $(PAGE_SOURCES) $(PAGE)/node_modules/.made
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm run --silent --prefix $(PAGE) build -- --logLevel warn
	@touch $@
