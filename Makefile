# The gates of Turnlog. Every target can be the first command on a fresh clone: it makes its own environment,
# and needs nothing but Python 3.11, 3.12 or 3.13. PYTHON=... picks another interpreter.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

MINORS := 3.11 3.12 3.13
FAST_ROOMS := $(wildcard tests/arch tests/unit tests/replay tests/conformance)
MINOR_ROOMS := $(wildcard tests/unit tests/replay)
# One process a core: what these tests need is processor time, and none of them measures time or owns a port.
PARALLEL := -n auto --dist worksteal
PARALLEL_ROOMS := $(FAST_ROOMS) $(wildcard tests/simulation)
LOCKS := requirements/build.txt requirements/runtime.txt requirements/test.txt requirements/dev.txt

PIP_INSTALL := -m pip --disable-pip-version-check install --quiet --retries 8 --timeout 60
UV_VERSION := 0.13.9
UV_COMPILE := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--upgrade --no-emit-index-url --no-emit-find-links --no-header

# The environment is made new when the locked requirements change, so that nothing left over hides a missing one.
# $(1): what .ci/python should look for, $(2): the environment, $(3): the requirements file.
define make_environment
	interpreter=$$(.ci/python $(1)); $$interpreter -m venv --clear $(2)
	$(2)/bin/python $(PIP_INSTALL) --require-hashes -r $(3)
	touch $@
endef

# The project itself: editable, no dependencies, built by the hatchling that the requirements pinned.
define install_project
	$(1)/bin/python $(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	touch $@
endef

.PHONY: help
help: ## print this list
	@sed -nE 's/^([a-z.-]+):.*## (.*)$$/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS=$$'\t' read -r name says; do printf '  make %-13s %s\n' "$$name" "$$says"; done

.PHONY: .venv
.venv: .venv/.installed ## the environment: locked requirements, the project editable

.venv/.requirements: requirements/dev.txt
	$(call make_environment,$(PYTHON),.venv,requirements/dev.txt)

.venv/.installed: .venv/.requirements pyproject.toml
	$(call install_project,.venv)

.venv-%/.requirements: requirements/test.txt
	$(call make_environment,python$*,.venv-$*,requirements/test.txt)

.venv-%/.installed: .venv-%/.requirements pyproject.toml
	$(call install_project,.venv-$*)

.PRECIOUS: .venv-%/.requirements .venv-%/.installed

.PHONY: check
check: .venv ## style, types, imports and the fast tests: what every commit passes
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/basedpyright
	.venv/bin/lint-imports
	.venv/bin/python -m pytest $(PARALLEL) $(FAST_ROOMS)

.PHONY: test
test: test-minors ## every test; unit and replay on every Python minor that is here
	.venv/bin/python -m pytest $(PARALLEL) $(PARALLEL_ROOMS)
	.venv/bin/python -m pytest --require-kafka $(PARALLEL_ROOMS:%=--ignore=%)

.PHONY: chaos
chaos: .venv ## half an hour of kills and pauses of nodes and broker under load; CHAOS_SEED=0 chooses which
	.venv/bin/python -m pytest --require-kafka -o faulthandler_timeout=0 tests/cluster/test_chaos.py \
	    --chaos-seconds $(or $(CHAOS_SECONDS),1800) --chaos-seed $(or $(CHAOS_SEED),0)

.PHONY: test-minors
test-minors: .venv ## the unit and replay tests on those of Python 3.11, 3.12 and 3.13 that are here and not in .venv
	@own=$$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for minor in $(MINORS); do \
	    if [ $$minor = $$own ]; then continue; fi; \
	    if ! .ci/python python$$minor >/dev/null 2>&1; then echo "python$$minor: not on this machine, not tested"; continue; fi; \
	    $(MAKE) --no-print-directory .venv-$$minor/.installed; \
	    echo "python$$minor: $(MINOR_ROOMS)"; \
	    .venv-$$minor/bin/python -m pytest $(PARALLEL) $(MINOR_ROOMS); \
	done

.PHONY: format
format: .venv ## rewrite the code in the one format, with the fixes that are safe
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

.PHONY: demo
demo: .venv ## run a fleet of services, kill the engine in the middle, let the log tell what happened
	.venv/bin/python docs/examples/fleet/demo.py

.PHONY: demo-kafka
demo-kafka: .venv ## run the fleet on three nodes that share a log on Kafka, kill one of them, let the log tell
	.venv/bin/python docs/examples/fleet/demo_kafka.py

.PHONY: bench
bench: .venv ## measure three activities in sequence on the embedded log
	.venv/bin/turnlog bench hello3 --log embedded --json

.PHONY: bench-kafka
bench-kafka: .venv ## measure the same on a Kafka broker of its own
	.venv/bin/turnlog bench hello3 --log kafka --json

.PHONY: lock
lock: ## write requirements/*.txt anew from pyproject.toml: newest versions, hashes, no index URL
	interpreter=$$(.ci/python $(PYTHON)); $$interpreter -m venv --clear .venv-lock
	.venv-lock/bin/python $(PIP_INSTALL) uv==$(UV_VERSION)
	$(UV_COMPILE) --group build -o requirements/build.txt
	$(UV_COMPILE) pyproject.toml -o requirements/runtime.txt
	$(UV_COMPILE) pyproject.toml --extra broker --group test -o requirements/test.txt
	$(UV_COMPILE) pyproject.toml --extra broker --group dev -o requirements/dev.txt
	@if grep -nE '://|--(index|find|extra)' $(LOCKS); then echo 'expected requirements without a URL, but these lines hold one' >&2; exit 1; fi

.PHONY: jars
jars: .venv ## download the broker of the tests, Apache Kafka: once, 44 MB
	.venv/bin/python -m provider_log.dev.jars

.PHONY: lock-kafka
lock-kafka: .venv ## write provider_log/dev/kafka.lock anew: the jars of the broker for tests, with their SHA-256 sums
	.venv/bin/python -m provider_log.dev.lock

.PHONY: clean
clean: ## remove the environments and what the tools cached
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
