# The project's commands; `make` alone lists them. What a build needs besides Rust is checked, and installed if it is missing, by .ci/deps.

SITE    := examples/python
VENV    := $(SITE)/.venv
SUITE   := tests/conformance
PAGE    := tests/page
CLIENTS := tests/clients
BINARY  := $(or $(CARGO_TARGET_DIR),target)/release/hedgerow

.DEFAULT_GOAL := help
.PHONY: help run test e2e clients page page-pictures conformance conformance-update build pgo fmt lint bench bench-parts bench-cache bench-tail deny clean deps e2e-deps clients-deps page-deps suite-deps

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## Start the demo: an edge on 127.0.0.1:8080 over three demo backends
	@$(BINARY) demo

test: deps ## Run all tests
	cargo test --locked

e2e: e2e-deps build $(VENV)/.installed clients page ## Drive the release binary in front of a real Flask site and gRPC servers, by clients of many kinds, watch it with Prometheus, look at the live page
	@$(VENV)/bin/python $(SITE)/e2e.py --binary $(BINARY)
	@$(VENV)/bin/python $(SITE)/calls.py --binary $(abspath $(BINARY))
	@$(VENV)/bin/python $(SITE)/monitoring.py --binary $(abspath $(BINARY))

clients: clients-deps build $(CLIENTS)/.venv/.installed ## Talk to it over TLS and HTTP/2 as curl, nghttp, h2load, openssl, Chromium and a WebSocket client do
	@$(CLIENTS)/.venv/bin/python $(CLIENTS)/clients.py --binary $(BINARY)

page: page-deps build ## Look at the live page in a headless Chromium, and at `hedgerow top`
	@python3 $(PAGE)/page.py --binary $(BINARY)

page-pictures: page-deps build ## The same, and put its screenshots into docs/images/ (needs pngquant)
	@python3 $(PAGE)/page.py --binary $(BINARY) --pictures docs/images
	@pngquant --force --strip --ext .png 128 docs/images/live*.png

conformance: suite-deps build $(SUITE)/node_modules/.installed ## Run the public suite of HTTP caches beside nginx and Varnish
	@node --test --test-reporter=spec $(SUITE)/self.test.mjs
	@node $(SUITE)/run.mjs --binary $(BINARY)

conformance-update: suite-deps build $(SUITE)/node_modules/.installed ## The same, and record its results in docs/conformance/
	@node $(SUITE)/run.mjs --binary $(BINARY) --update

build: deps ## Build the release binary, target/release/hedgerow
	@cksum Cargo.toml Cargo.lock rust-toolchain.toml | cmp -s - benches/pgo/recorded \
		|| echo "the profile is of another Cargo.toml, Cargo.lock or toolchain, and may fit little: make pgo renews it" >&2
	cargo build --release --locked

pgo: deps ## Renew the profile that guides release builds, benches/pgo/hedgerow.profdata (15 minutes)
	@benches/pgo/record

fmt: ## Format the code
	cargo fmt --all

lint: deps ## Check the format and run clippy; a warning is an error
	cargo fmt --all --check
	cargo clippy --locked --all-targets -- -D warnings

bench: build ## Measure what a request costs beside nginx, HAProxy, Varnish and the floor (30 minutes; EDGE=--help)
	cargo bench --locked --bench edge -- --binary $(abspath $(BINARY)) $(EDGE)

bench-parts: deps ## Measure the pure half, purges, scrapes, and balancing over loopback (a few minutes)
	cargo bench --locked --bench policy --bench purge --bench scrape --bench balance

bench-cache: deps ## Measure hit ratio against LRU, and resident memory against the bound (a few minutes, 1 GB)
	cargo bench --locked --bench hit_ratio --bench memory

bench-tail: build ## Measure what clients see of sick backends and of overload, beside nginx and HAProxy (45 minutes)
	cargo bench --locked --bench tail -- --binary $(abspath $(BINARY)) $(TAIL)

deny: ## Check licences, advisories and sources of dependencies (needs cargo-deny)
	cargo deny --locked check

clean: ## Remove what was built, the Python environment and the suite
	cargo clean
	rm -rf $(VENV) $(CLIENTS)/.venv $(SUITE)/node_modules

# pingora's zlib-ng is built by cmake.
deps:
	@.ci/deps cargo cc cmake

e2e-deps:
	@.ci/deps python3 venv curl prometheus

# What else is missing is not asked, and that is said; where `CI` is set it is installed.
clients-deps:
	@.ci/deps python3 venv openssl $(if $(CI),curl nghttp h2load chromium)

# A browser is much to install unasked; without one the page is not looked at, and that is said.
page-deps:
	@.ci/deps python3 $(if $(CI),chromium)

# The peers are servers, which a distribution may start as it installs them: that is left to whoever owns the machine.
# Without them the suite runs against Hedgerow alone.
suite-deps:
	@.ci/deps node npm $(if $(CI),nginx varnishd)

# Exactly what the lock file says, by its checksums; no package runs a script.
$(SUITE)/node_modules/.installed: $(SUITE)/package.json $(SUITE)/package-lock.json | suite-deps
	npm ci --prefix $(SUITE) --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)/.installed: $(SITE)/requirements.txt | e2e-deps
	python3 -m venv --clear $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(CLIENTS)/.venv/.installed: $(CLIENTS)/requirements.txt | clients-deps
	python3 -m venv --clear $(CLIENTS)/.venv
	$(CLIENTS)/.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
