.PHONY: check test
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked
test: check

# The generated files: the CRD and its reference from the Rust types, the plain manifests from the chart. Tests fail when they are behind.
.PHONY: generate
generate:
	AGENTPOOL_GENERATE=1 cargo test --quiet --locked --package agentpool --test generated generated_from
	e2e/controlplane/build.sh helm
	deploy/render.sh > deploy/install.yaml
