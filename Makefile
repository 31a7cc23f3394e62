# The everyday commands, each working from a fresh checkout.
.DEFAULT_GOAL := help
.PHONY: help setup build renew demo gallery test test-image test-compose release test-release test-versions bench bench-fleet bench-predictions bench-service bench-queue bench-parity bench-families serve studio lint fuzz sanitize clean distclean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Where libheif is, HEIC and AVIF are built in and tested; asked for after test-servers, which may fetch it.
FETCHED = if [ -e .test-servers/env ]; then . ./.test-servers/env; fi;
HEIF = $$(pkg-config --exists 'libheif >= 1.14' 2>/dev/null && echo --features=heif)

setup: ## fetch libtorch and the default model, once
	@scripts/setup

build: setup ## compile the optimised binary
	cargo build --release --locked

renew: setup ## write what is made from the code: openapi.yaml, the README's tables, the fuzzer's dictionary
	scripts/renew $(HEIF)

demo: build ## dream the sample photo into demo/
	scripts/demo

gallery: build ## render the pictures of docs/ again and compare them (PICTURES="cat- …" for some)
	scripts/gallery $(PICTURES)

test: setup ## run the tests
	@scripts/test-servers
	$(FETCHED) cargo test --locked $(HEIF)
	$(FETCHED) scripts/contract-test $(HEIF)

test-image: ## build the container image and run it (root on Debian, with buildah, podman, runc and mmdebstrap)
	scripts/test-image

test-compose: ## run the service of deploy/compose.yaml from that image, and restart it under load (needs the same)
	scripts/test-compose

release: setup ## build the archive of a release into dist/ (Linux on x86-64)
	scripts/release

test-release: ## check the archive in dist/ and run it in bare systems (root on Debian, with mmdebstrap)
	scripts/test-release

test-versions: setup ## test this version beside the next one (REVERIE_OTHER_VERSION=… for another)
	@scripts/test-servers
	scripts/test-versions

bench-predictions: setup ## compare what jobs were predicted to take with what they took
	cargo bench --locked --bench predictions

bench-fleet: ## load the containers of deploy/compose.yaml through nginx (needs what test-compose needs)
	scripts/bench-fleet

bench-service: setup ## measure the service around the renders
	cargo bench --locked --bench service

bench-queue: setup ## measure the queue on PostgreSQL
	@scripts/test-servers
	cargo bench --locked --bench queue

# A frozen Inception GraphDef, and pictures to dream on.
GRAPH ?= $(firstword $(wildcard models/tensorflow_inception_graph.pb ../shared/models/bvlc_inception_graph.pb))
IMAGES ?= $(or $(wildcard ../shared/images/cloud640.png ../shared/images/golden_gate.jpg),assets/sample.jpg)

bench: build ## compare how long a dream takes with TensorFlow (GRAPH=…pb IMAGES=…)
	scripts/peers
	.venv-peers/bin/python benches/peer/speed.py "$(or $(GRAPH),$(error GRAPH=… must name a frozen Inception GraphDef))" $(firstword $(IMAGES))

bench-parity: build ## compare what dreams reach with TensorFlow (GRAPH=…pb IMAGES=…)
	scripts/peers
	.venv-peers/bin/python benches/peer/parity.py "$(or $(GRAPH),$(error GRAPH=… must name a frozen Inception GraphDef))" $(IMAGES)

bench-families: build ## compare a gradient step of each family of networks with PyTorch
	packages=$$(./target/release/reverie models certify --with torch --prepare) && PYTHONPATH=$$packages python3 benches/peer/families.py

serve: build ## run the service
	./target/release/reverie serve

studio: build ## run the service and open its page in a browser
	@scripts/studio

lint: setup ## check formatting, clippy, the documentation, spelling, dependencies, the Studio's types and deploy/
	cargo fmt --check
	$(FETCHED) cargo clippy --all-targets --locked $(HEIF) -- -D warnings
	$(FETCHED) RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked $(HEIF)
	@scripts/lint-sources
	@scripts/lint-studio
	@scripts/lint-deploy

# Seconds for each target.
FUZZ_SECONDS ?= 60

fuzz: setup ## search for inputs that a reader does not bear (FUZZ_SECONDS=60 for each target)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

sanitize: ## run the tests of kernels and file readers under AddressSanitizer and Miri
	scripts/sanitize

clean: ## remove build and demo outputs, keep downloads
	cargo clean
	rm -rf demo fuzz/target

distclean: clean ## remove the downloads too
	rm -rf .libtorch .libtorch.* .contract-tools .lint-tools .source-tools .fuzz-tools .sanitize-tools .release-tools .test-servers dist models
