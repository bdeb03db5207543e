# The few things people do here. What each one does is in scripts/setup and in cargo's own words.

# Of `make demo`: arguments for the demonstration.
ARGS ?=

.PHONY: help demo test fmt bench

help: ## Say what there is
	@sed -n 's/^\([a-z%-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## Show Lifeboat lose a database and bring it back (ARGS="...")
	scripts/setup --demo
	cargo build --release --package lifeboat-cli
	target/release/lifeboat demo $(ARGS)

test: ## All checks and tests, as CI runs them
	scripts/setup
	cargo fmt --all --check
	cargo xtask tidy
	cargo clippy --workspace --all-targets --features xtask/bench -- -D warnings
	cargo nextest run --workspace
	cargo test --workspace --doc
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

fmt: ## Format the code
	cargo fmt --all

bench: ## List the measurements
	cargo run --quiet --release --package xtask --features bench -- bench

bench-%: ## Run one of them
	scripts/setup --bench
	cargo build --release --package lifeboat-cli
	cargo run --quiet --release --package xtask --features bench -- bench $*
