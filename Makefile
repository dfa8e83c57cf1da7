# Each target makes .venv and installs what it needs. Another Python: make test PYTHON=python3.12
PYTHON ?= python3
PY := .venv/bin/python
WHEEL := .venv-wheel/bin/python

# What the tests need beside the base; torch only in the checkout, which has the tests of it.
EXTRAS := dev,eval,heic,langchain,llama-index,ocr,openai,qdrant,vlm
TORCH := export,open-clip,sentence-transformers,transformers

.DEFAULT_GOAL := help
.PHONY: help demo test unit wheel-test check bench clean

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

.venv/.base: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check -e .
	@touch $@

.venv/.dev: .venv/.base
	$(PY) -m pip install -q --disable-pip-version-check -e '.[$(EXTRAS),$(TORCH)]'
	@touch $@

demo: .venv/.base  ## index the sample corpus, ask it in words and pictures, write mmrag-demo/demo.html
	$(PY) -m mmrag demo --out mmrag-demo

test: check unit wheel-test  ## all checks and all tests, from the checkout and from the wheel

unit: .venv/.dev  ## the tests, from the checkout
	$(PY) -m pytest -n auto

wheel-test: .venv/.dev  ## the quick tests against the installed wheel, from outside the root
	rm -rf dist .venv-wheel
	$(PY) -m pip wheel -q --disable-pip-version-check --no-deps -w dist .
	$(PYTHON) -m venv .venv-wheel
	$(WHEEL) -m pip install -q --disable-pip-version-check "$$(ls $(CURDIR)/dist/*.whl)[$(EXTRAS)]"
	cd /tmp && $(CURDIR)/$(WHEEL) -m pytest -n auto -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) -p no:cacheprovider -m "not slow and not torch" $(CURDIR)/tests

check: .venv/.dev  ## style, types and the direction of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

bench: .venv/.dev  ## the README's figures, measured anew
	$(PY) -m benchmarks

clean:  ## remove what the other targets made
	rm -rf .venv .venv-wheel dist mmrag-demo
