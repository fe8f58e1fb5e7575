# The commands of a working day. `make` alone lists them.
#
# Everything a target needs is installed on its first run, into .venv and .cache or by apt, and is quick when it is
# already there. Tests start private servers on free ports; the machine's own services are never touched.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
VENV := .venv
TOOLS := .cache/tools/bin
SCRIPTS := .ci/run benches/run benches/images/run benches/tables/run scripts/install-rust-tools scripts/install-test-env scripts/smoke-stage9.3.sh
WITH_SERVERS := scripts/test-servers run
PYTEST := $(VENV)/bin/python -m pytest

.PHONY: help run build check fmt lint doc licences advisories scripts-check test test-rust test-acceptance test-env \
	venv rust-tools test-servers stop-test-servers test-providers docs-providers coverage bench clean-data

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The recipe ends in `exec`, so the server itself receives Ctrl-C and SIGTERM and drains before it stops.
run: ## Build the release and start it: API on 8000, S3 endpoint on 9000, data in ./data
	$(CARGO) build --release --locked --package cloakroom
	@exec ./target/release/cloakroom serve --dev

build: ## Build the whole workspace (debug)
	$(CARGO) build --workspace --locked

check: fmt lint doc licences scripts-check ## Everything that can be said without running the program

fmt: rust-tools ## Formatting
	$(CARGO) fmt --all --check

# The bench rig has a workspace of its own, whose lock file must follow ours.
lint: rust-tools ## Clippy, warnings are errors
	$(CARGO) clippy --workspace --all-targets --locked -- --deny warnings
	$(CARGO) metadata --locked --format-version 1 --manifest-path benches/rig/Cargo.toml >/dev/null

doc: ## API documentation, warnings are errors
	RUSTDOCFLAGS=--deny=warnings $(CARGO) doc --workspace --no-deps --locked

licences: rust-tools ## Licences, banned crates and sources of the dependency tree
	$(TOOLS)/cargo-deny --locked check --hide-inclusion-graph licenses bans sources

# Kept out of `check`: it downloads the RustSec database, and a build must not fail because the internet is away or
# because somebody published an advisory overnight.
advisories: rust-tools ## Known vulnerabilities in the dependency tree (needs the internet)
	$(TOOLS)/cargo-deny --locked check advisories

scripts-check: ## Syntax of the shell scripts and of the Python tests
	for script in $(SCRIPTS); do bash -n "$$script"; done
	python3 -m compileall -q tests
	scripts/test-mutations --check
	for script in scripts/test-servers scripts/test-providers scripts/test-mutations scripts/test-power-loss; do \
	    python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$$script"; done

# One run tells of every failure: nobody waits for the next one to see the second.
test: test-env ## All tests, against real servers that it starts; installs what they need
	$(WITH_SERVERS) $(MAKE) --keep-going test-rust test-acceptance

# The signing tests ask botocore, so they need the Python environment too.
test-rust: test-env ## Rust unit and integration tests
	$(WITH_SERVERS) $(CARGO) test --workspace --locked --no-fail-fast

test-acceptance: test-env ## Real clients against the built program (ARGS='-k name' passes options to pytest)
	$(CARGO) build --locked --package cloakroom
	$(WITH_SERVERS) $(PYTEST) tests $(ARGS)

test-servers: test-env ## Start PostgreSQL, Ceph, Redis, moto, NATS and clamd privately and leave them running for the tests
	scripts/test-servers start

stop-test-servers: ## Stop them
	scripts/test-servers stop

# Kept out of `test`: Garage is built from source on the first run, which takes about twelve CPU minutes.
test-providers: test-env ## The object store suite and the probe on Garage and Swift too, which it builds and installs
	$(WITH_SERVERS) scripts/test-providers test

docs-providers: test-env ## Remake the tables and the doctor's words in docs/providers.md
	$(WITH_SERVERS) scripts/test-providers docs

test-env: venv ## Everything the tests need (apt packages, Python environment)

venv: ## The Python environment of the tests
	scripts/install-test-env

rust-tools: ## rustfmt, clippy and cargo-deny
	scripts/install-rust-tools

# Kept out of `test`: everything is built once more, instrumented, and runs about three times as long. Tests that look into
# an empty directory fail under it, for the program leaves its counters there.
coverage: test-env rust-tools ## Which lines the Rust tests run; the program that they start is not counted
	scripts/install-rust-tools coverage
	$(WITH_SERVERS) env PATH="$$PWD/$(TOOLS):$$PATH" $(CARGO) llvm-cov --workspace --locked --ignore-run-fail \
	    --summary-only --ignore-filename-regex '/(tests|examples|testkit|benches)/' test

bench: ## Benchmarks
	benches/run

clean-data: ## Delete ./data: every file and every row of the local instance
	rm -rf ./data
