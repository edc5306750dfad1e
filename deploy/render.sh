#!/usr/bin/env bash
# Prints the plain manifests: the chart with its default values, and the namespace before it.
# HELM names the program; by default the one that e2e/controlplane/build.sh builds, else the one on PATH.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
built=${AGENTPOOL_CACHE:-$repository/target/controlplane}/bin/helm
if [ -z "${HELM:-}" ]; then
  if [ -x "$built" ]; then HELM=$built; else HELM=helm; fi
fi
command -v "$HELM" >/dev/null || {
  echo "helm is missing: run e2e/controlplane/build.sh helm, or install Helm 4 (https://helm.sh)" >&2
  exit 1
}

cat <<'NAMESPACE'
# AgentPool: `kubectl apply --server-side -f install.yaml`. Made from charts/agentpool by `make generate`: do not edit.
apiVersion: v1
kind: Namespace
metadata:
  name: agentpool-system
  labels:
    app.kubernetes.io/part-of: agentpool
    pod-security.kubernetes.io/enforce: restricted
NAMESPACE
# Nothing that is applied this way belongs to a Helm release.
"$HELM" template agentpool "$repository/charts/agentpool" --namespace agentpool-system --set crds.keep=false,handBack.enabled=false |
  sed '/app.kubernetes.io\/managed-by: Helm/d'
