# The vocabulary of the project. `make help` lists it; scripts/ does the work.
#
# Another nginx than the distribution's: NGINX_BINARY, NGINX_SOURCE_DIR, NGINX_BUILD_DIR.

SHELL := /bin/bash
.DEFAULT_GOAL := help
# rustup puts cargo where only login shells look.
export PATH := $(PATH):$(HOME)/.cargo/bin
.PHONY: help run test bench build module package check fuzz openapi soak nginx-tests test-nginx valgrind asan packages

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  make run: NWAF_HTTP_PORT (8088), NWAF_API_PORT (8080), NWAF_RUN_DIR (run)'
	@echo '  another nginx: NGINX_BINARY, NGINX_SOURCE_DIR, NGINX_BUILD_DIR'

run: ## install what is missing, build, start API, syncd and a protected site; Ctrl-C stops
	@scripts/run-demo

test: ## install what is missing, build, run every test; ends with "N passed, N failed"
	@scripts/test

bench: ## measure what the module costs, side by side with plain nginx
	@scripts/bench

build: packages ## build the daemons (release)
	cargo build --release --locked

module: packages ## build the nginx module (release)
	@scripts/build-module --locked

package: ## build Debian packages (a later version)
	@echo 'make package: packages are built by a later version; use make build and make module' >&2
	@exit 1

check: packages ## format, lints, dependency directions, licences, unsafe, file shapes
	@scripts/check

soak: packages ## thirty minutes of load with another policy every second (NWAF_SOAK_SECONDS)
	@scripts/soak $${NWAF_SOAK_SECONDS:-1800}

fuzz: packages ## fuzz the parsers and the snapshot reader, a minute each (NWAF_FUZZ_SECONDS)
	@scripts/fuzz $${NWAF_FUZZ_SECONDS:-60}

openapi: packages ## send the API generated requests after its OpenAPI document, a minute (NWAF_OPENAPI_SECONDS)
	@scripts/try-openapi $${NWAF_OPENAPI_SECONDS:-60}

nginx-tests: packages ## nginx's own test suite (NGINX_TESTS_DIR) without the module and with it
	@scripts/nginx-tests

test-nginx: packages ## build a newer nginx and the module for it, run the module's tests
	@scripts/test-nginx

valgrind: packages ## the module's tests with nginx under valgrind
	@scripts/valgrind

asan: packages ## the module's tests with the module under AddressSanitizer
	@scripts/asan

packages: # what building needs
	@scripts/install-packages
