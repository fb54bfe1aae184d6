# The only front door. Anything longer than three lines is a script or `cargo xtask`.
# `verify` writes nothing, `fix` rewrites; `test` is what CI runs.

.PHONY: demo test verify fix e2e chaos bench bench-docs crds image tools sim clean-tools help
.DEFAULT_GOAL := help

RELEASE = $(or $(CARGO_TARGET_DIR),target)/release
CACHE = $(or $(RINGRIFT_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ringrift)
SEEDS ?= 200
# Import groups are unstable in rustfmt.toml; as an argument they work on the stable toolchain.
FORMAT = cargo fmt --all -- --config group_imports=StdExternalCrate

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: ## three agents and a gauntlet of chess engines; DEMO_ENGINE=own needs no package
	@[ "$(DEMO_ENGINE)" = own ] || tests/packages stockfish
	cargo build --release --bins -p ringrift-agent -p ringrift-cli -p ringrift-match -p ringrift-tests
	@$(RELEASE)/demo

test: ## everything that CI runs, in an order that fails fast
	@tests/all

verify: ## format, lints, rules, generated files, licences, documentation; writes nothing
	@tests/all verify

fix: ## rewrite what can be rewritten: format, lints, generated files
	cargo clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	$(FORMAT)
	cargo xtask crds

e2e: tools ## a real three-node Kubernetes, the chart, three examples, an outage of the API server
	cargo build --release --workspace --bins
	cargo test --release --workspace --test e2e -- --nocapture

sim: ## the core, and consensus under it, in seeded worlds; SEEDS=200
	cargo run --release -p ringrift-sim -- queue --seeds 0..$(SEEDS)

chaos: ## real agents under faults and load, ten minutes each with three and five; CHAOS="--minutes 1 --agents 3 --seed 7"
	@tests/packages util-linux mount e2fsprogs iproute2 nftables
	cargo build --release --bins -p ringrift-agent -p ringrift-cli -p ringrift-match -p ringrift-chaos
	@$(RELEASE)/ringrift-chaos $(CHAOS)

bench: ## the queue beside etcd, NATS and RabbitMQ, then its page; a part, no page: BENCH="--only ours --part failover"
	@tests/packages rabbitmq-server
	@tests/bench/build-peers >/dev/null
	cargo build --release --bins -p ringrift-agent -p ringrift-cli -p ringrift-match -p ringrift-bench
	@RINGRIFT_PEERS_DIR=$$(tests/bench/build-peers) $(RELEASE)/ringrift-bench $(BENCH)
	@$(if $(BENCH),,$(RELEASE)/ringrift-bench --docs docs)

bench-docs: ## docs/benchmarks.md and its plots, from the figures of the last bench
	cargo build --release -p ringrift-bench
	@$(RELEASE)/ringrift-bench --docs docs

crds: ## write the custom resources' YAML from their Rust types
	cargo xtask crds

image: ## target/image/ringrift.tar, without a container engine (with one: tests/image/Dockerfile)
	cargo build --release --workspace --bins
	@tests/image/build $(RELEASE)/../image

tools: ## what the tests need and this machine lacks; the cache is outside of the repository
	@tests/packages stockfish containerd runc containernetworking-plugins iproute2 nftables openssl curl
	@tests/cluster/build-kubernetes >/dev/null
	@tests/cargo-deny install

clean-tools: ## remove that cache
	rm -rf "$(CACHE)"
