# What can be done here: `make help`.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

CARGO ?= cargo
export CARGO_TERM_COLOR ?= auto
TARGET := $(or $(CARGO_TARGET_DIR),target)

# How long it took where it was measured, for the first lines of demo, check and test.
MEASURED := on 2 cores
CRATES_COLD := 575 s of CPU time
CORE_COLD := 5 min 10 s
DEMO_RUN := 95 s
CHECK_WARM := 4 min 26 s beside other work
CONTROL_PLANE_COLD := 9 min 24 s
TEST_WARM := 35 min 39 s beside a benchmark

.PHONY: help
help: ## Says what there is.
	@echo "AgentPool: one decision about GPUs for all agents of a team. Targets:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
	@echo "Variables of demo: SCENE=drift|paper  LENGTH=60s  READY=2s (pod start-up)  SEED=3  POLICY=WaterFilling|Balanced"
	@echo "Needed: Linux, Rust 1.91, Go 1.26, a C compiler; see README.md."

.PHONY: demo
demo: ## Four agents on 8 GPUs beside a static twin, about 90 s after the first build. SCENE=paper: one time-sliced GPU.
	@echo "demo: builds AgentPool, then etcd, Kubernetes, kubectl and KWOK from source; only what is missing or changed."
	@echo "      Cold that took $(CORE_COLD) plus $(CRATES_COLD) for Rust, $(MEASURED). The demo itself takes about $(DEMO_RUN)."
	@$(CARGO) build --locked --workspace --bin agentpool --bin demo
	@$(TARGET)/debug/demo --check
	@e2e/controlplane/build.sh core
	@echo
	@$(TARGET)/debug/demo

.PHONY: check
check: ## The fast part of the tests: format, lints, unit tests, rules of the house, generated files. No control plane.
	@echo "check: builds AgentPool, its test bench and their unit tests; only what is missing or changed."
	@echo "       With the crates there it took $(CHECK_WARM), $(MEASURED); they took $(CRATES_COLD) when the demo was built."
	@.ci/check

.PHONY: test
test: ## Everything that CI runs: check, then the end-to-end tests on a real control plane.
	@echo "test: builds AgentPool and its tests, then etcd, Kubernetes, kubectl, KWOK, Helm and Prometheus from source; only what is missing or changed."
	@echo "      With crates and control plane there it took $(TEST_WARM), $(MEASURED). Cold, the control plane takes"
	@echo "      $(CONTROL_PLANE_COLD) more (each part measured alone); the crates took $(CRATES_COLD) when the demo was built."
	@.ci/check
	@.ci/e2e

.PHONY: bench
bench: ## The figures: a table, and target/bench/report.json.
	@.ci/bench

.PHONY: evaluation
evaluation: ## What moving GPUs is worth, from the simulator: checks design.md's table, writes docs/evaluation.md. Minutes after the first build.
	AGENTPOOL_EVALUATION=1 $(CARGO) test --locked --release --package agentpool --test section_six -- --nocapture
	$(CARGO) run --locked --release --package agentpool-e2e --bin evaluation

.PHONY: generate
generate: ## Writes the generated files: the CRD and its reference from the Rust types, the plain manifests from the chart.
	AGENTPOOL_GENERATE=1 $(CARGO) test --quiet --locked --package agentpool --test generated generated_from
	e2e/controlplane/build.sh helm
	deploy/render.sh > deploy/install.yaml

.PHONY: manifests
manifests: generate ## The same as generate.

.PHONY: deny
deny: ## Licences, advisories and sources of the dependencies. Needs cargo-deny (cargo install cargo-deny).
	@command -v cargo-deny >/dev/null || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 1; }
	$(CARGO) deny check

.PHONY: clean
clean: ## Removes what was built, the control plane included.
	rm -rf $(TARGET)
