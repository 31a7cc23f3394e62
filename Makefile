# The everyday commands, each working from a fresh checkout.
.DEFAULT_GOAL := help
.PHONY: help setup build demo test bench-predictions bench-service serve lint clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch libtorch and the default model, once
	@scripts/setup

build: setup ## compile the optimised binary
	cargo build --release --locked

demo: build ## dream the sample photo into demo/
	scripts/demo

test: setup ## run the tests
	cargo test --locked
	scripts/contract-test

bench-predictions: setup ## compare what jobs were predicted to take with what they took
	cargo bench --locked --bench predictions

bench-service: setup ## measure the service around the renders
	cargo bench --locked --bench service

serve: build ## run the service
	./target/release/reverie serve

lint: setup ## check formatting, clippy and the documentation
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

clean: ## remove build and demo outputs, keep downloads
	cargo clean
	rm -rf demo

distclean: clean ## remove the downloads too
	rm -rf .libtorch .libtorch.* models
