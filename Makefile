.PHONY: check test
check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked
test: check

# The generated files: the CRD from the Rust types, the plain manifests from the chart. Tests fail when they are behind.
.PHONY: manifests
manifests:
	cargo run --quiet --locked -- crd > crds/agentpools.agentpool.dev.yaml
	cp crds/agentpools.agentpool.dev.yaml charts/agentpool/files/crd.yaml
	e2e/controlplane/build.sh helm
	deploy/render.sh > deploy/install.yaml
