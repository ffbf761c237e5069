# Everything from nothing: `make demo` serves the sample site, `make test` runs the suite.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_ADDRESS ?= 127.0.0.1:8000
# One file at a time to each worker: servers are started once for a file. Three on two cores, as each often waits for them.
PYTEST_ARGS ?= -n 3 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo demo-pushpin demo-backend test test-short system-packages check format benchmark clean

help:
	@echo "make demo          the sample site on http://$(DEMO_ADDRESS)/, with the embedded proxy"
	@echo "make demo-pushpin  a Pushpin on http://$(DEMO_ADDRESS)/ in front of port 8001, and in another terminal"
	@echo "make demo-backend  the sample site on port 8001 behind it: restart it at will"
	@echo "make test          the whole suite, with Debian's pushpin, redis-server and chromium"
	@echo "make check         ruff, mypy and the direction of imports"
	@echo "make benchmark     CPU per batch, beside django-grip and Channels"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp for each set of dependencies, so that the demo does not wait for the tests' tools.
$(VENV)/.with-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

demo: $(VENV)/.with-server
	$(BIN)/python sample_site/manage.py migrate --verbosity 0
	@echo "The sample site: http://$(DEMO_ADDRESS)/   (open it in two tabs; Ctrl-C ends it)"
	$(BIN)/python sample_site/manage.py runserver $(DEMO_ADDRESS)

demo-pushpin: $(VENV)/.with-server
	$(BIN)/python -m grip_consumers.testing.pushpin --port $(lastword $(subst :, ,$(DEMO_ADDRESS))) --backend 8001 \
		--control-port 5561 --sig-key demo

demo-backend: $(VENV)/.with-server
	$(BIN)/python sample_site/manage.py migrate --verbosity 0
	GRIP_URL='http://127.0.0.1:5561?verify-key=demo' \
		$(BIN)/python -m uvicorn sample_site.asgi:application --port 8001 --lifespan off

system-packages:
	@sh tests/system-packages.sh

test: $(VENV)/.with-test system-packages
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.with-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# `routing/` is the package grip_consumers.routing: mypy sees the tree as it is installed.
	@rm -rf .build/typed && mkdir -p .build/typed/grip_consumers
	@ln -s $(CURDIR)/grip_consumers/* $(CURDIR)/routing .build/typed/grip_consumers/
	cd .build/typed && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy -p grip_consumers
	$(BIN)/python -m pytest -q tests/test_import_layers.py

format: $(VENV)/.with-check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/.with-benchmark
	$(BIN)/python benchmarks/one_text_batch.py

clean:
	rm -rf $(VENV) .build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
