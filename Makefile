# Everything a developer does, each in one command. `make` alone lists them.
# ARGS goes to the program behind a target: make test ARGS="-n0 -k settings"

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export UV_PYTHON_DOWNLOADS = never

.DEFAULT_GOAL := help
.PHONY: help install demo test deep fuzz lint bench lock neighbours

help:
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(VENV)/.installed  ## create .venv with the locked dependencies and this checkout in it

demo: install  ## run backfill on an embedded sample mailbox: no account, no key
	@$(BIN)/backfill demo $(ARGS)

# Twice as many workers as cores: half of the time the tests wait for processes, disks and servers.
test: install neighbours  ## run all tests
	@$(BIN)/pytest -n $$($(PYTHON) -c 'import os; print(2 * (os.cpu_count() or 1))') $(ARGS)

deep: install  ## ask ledgers of a million mails, on SQLite and PostgreSQL
	@$(BIN)/pytest -q -n0 -s -m deep tests/integration/ledger $(ARGS)

fuzz: install  ## try ten thousand mutated mails; ARGS=-x stops at the first that breaks something
	@BACKFILL_FUZZ=10000 $(BIN)/pytest -q -n0 --timeout 0 -k mutated tests/unit/test_mime.py $(ARGS)

lint: install  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install  ## measure mails per second and memory
	@$(BIN)/python -m tests.bench $(ARGS)

lock: install  ## bring requirements.lock in step with pyproject.toml; ARGS=--upgrade for newer releases
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --all-extras --group dev \
		pyproject.toml -o requirements.lock $(ARGS)
	@! grep -nE '://|^-' requirements.lock || { echo "requirements.lock must hold no address"; exit 1; }

# uv is not in the lock: it is what reads the lock.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "backfill needs Python 3.11 or newer; name one: make install PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt_install,python3-venv) || \
		{ echo "$(PYTHON) cannot create virtual environments; on Debian: sudo apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# What some tests talk to, and no Python package brings: tests without their neighbour are skipped, except in CI.
neighbours:  ## install what the tests talk to (Debian, as root); else say what is missing
	@test -x .courier/usr/bin/imapd || $(call courier) || \
		{ echo "Courier-IMAP is missing: the tests against it are skipped."; test -z "$$CI"; }
	@missing=; \
	PATH="$$PATH:/usr/sbin"; \
	command -v dovecot >/dev/null || missing="$$missing dovecot-imapd"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	test -n "$$missing" || exit 0; \
	$(call apt_install,$$missing) && exit 0; \
	for package in $$missing; do case $$package in \
		dovecot-imapd) echo "Dovecot is missing: the tests against a real IMAP server are skipped.";; \
		chromium) echo "Chromium is missing: the tests of the HTML report in a browser are skipped.";; \
	esac; done; \
	echo "On Debian: sudo apt-get install$$missing"; \
	test -z "$$CI"

# Unpacked and not installed, since Courier-IMAP and Dovecot conflict; with the libraries that only it needs.
define courier
{ command -v apt-get >/dev/null && rm -rf .courier && mkdir -p .courier/packages && cd .courier/packages && \
	{ apt-get -qq download courier-imap >/dev/null 2>&1 || { test "$$(id -u)" = 0 && apt-get -qq update && \
	apt-get -qq download courier-imap >/dev/null 2>&1; }; } && \
	apt-get -qq download courier-authlib $$(apt-cache depends courier-imap | \
		sed -nE 's/.*Depends: (lib(courier-unicode|gamin|gdbm|idn)[0-9a-z]*)$$/\1/p') >/dev/null 2>&1 && \
	for package in *.deb; do dpkg -x $$package ..; done && cd ../.. && rm -rf .courier/packages && \
	test -x .courier/usr/bin/imapd; }
endef

# Succeeds only as root on a system with apt-get, when the packages are there afterwards.
define apt_install
{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo Installing $(1) && apt-get -qq update && \
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $(1) >/dev/null; }
endef
