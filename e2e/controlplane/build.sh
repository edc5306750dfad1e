#!/usr/bin/env bash
# Builds the programs of the test bench from pinned Go modules.
#
#   e2e/controlplane/build.sh [GROUP...]      GROUP: core (default), helm, prometheus, all
#
# Binaries go to $AGENTPOOL_CACHE/bin; AGENTPOOL_CACHE defaults to <repository>/target/controlplane.
# What was already built from the same go.mod, go.sum, stamp and Go version is skipped.
# The versions are in the go.mod files beside this script; go.sum pins every byte of their sources.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
cache=${AGENTPOOL_CACHE:-$repository/target/controlplane}
bin=$cache/bin

# binary | folder of its go.mod | main package | group | seconds of a cold build (2 cores; measured)
parts='etcd|kubernetes|go.etcd.io/etcd/server/v3|core|58
kube-apiserver|kubernetes|k8s.io/kubernetes/cmd/kube-apiserver|core|143
kube-controller-manager|kubernetes|k8s.io/kubernetes/cmd/kube-controller-manager|core|43
kube-scheduler|kubernetes|k8s.io/kubernetes/cmd/kube-scheduler|core|4
kubectl|kubernetes|k8s.io/kubernetes/cmd/kubectl|core|17
kwok|kwok|sigs.k8s.io/kwok/cmd/kwok|core|45
helm|helm|helm.sh/helm/v4/cmd/helm|helm|50
prometheus|prometheus|github.com/prometheus/prometheus/cmd/prometheus|prometheus|190
promtool|prometheus|github.com/prometheus/prometheus/cmd/promtool|prometheus|14'

fail() {
  printf 'control plane: %s\n' "$*" >&2
  exit 1
}

usage() {
  sed -n '2,8p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'
}

check_tools() {
  command -v go >/dev/null || fail 'Go is missing. The bench builds a real Kubernetes control plane from source
  and needs Go 1.26 or newer: https://go.dev/dl/ (unpack it and put its bin folder on PATH).'
  local have major minor
  # GOTOOLCHAIN=local: the version that is installed, not one that Go would download.
  have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
  have=${have#go}
  major=${have%%.*}
  minor=${have#*.}
  minor=${minor%%[!0-9]*}
  if [ "${major:-0}" -lt 1 ] || { [ "${major:-0}" -eq 1 ] && [ "${minor:-0}" -lt 26 ]; }; then
    fail "Go $have is too old: 1.26 or newer is needed (https://go.dev/dl/)."
  fi
  [ "$(uname -s)" = Linux ] || fail "the bench runs on Linux only (pods get addresses of 127.0.0.0/8); this is $(uname -s)."
}

check_c_compiler() {
  local cc
  cc=$(go env CC)
  command -v "${cc%% *}" >/dev/null || fail "no C compiler ($cc). Install gcc or clang (Debian: apt-get install gcc libc6-dev), or set CC."
}

# Kubernetes alone leaves about 4 GB in Go's build cache and 1.5 GB of modules.
check_disk() {
  local where=$1 need_mb=$2 what=$3 free_mb
  mkdir -p "$where"
  free_mb=$(df -Pm "$where" | awk 'NR == 2 { print $4 }')
  if [ "$free_mb" -lt "$need_mb" ]; then
    fail "only $free_mb MB are free at $where; $what needs about $need_mb MB. Free some, or set $4 to a folder on a larger disk."
  fi
}

# The version that go.mod asks of a module, without the leading v.
version_of() { awk -v module="$2" '$1 == "require" { sub(/^require /, "") } $1 == module && $2 != "=>" { sub(/^v/, "", $2); print $2; exit }' "$here/$1/go.mod"; }

ldflags() {
  local folder=$1 v
  case $folder in
    kubernetes)
      v=$(version_of kubernetes k8s.io/kubernetes)
      # Helm's kubeVersion check and feature gates read these.
      local p=k8s.io/component-base/version minor=${v#*.}
      printf -- '-X %s.gitVersion=v%s -X %s.gitMajor=%s -X %s.gitMinor=%s -X %s.gitTreeState=clean' \
        "$p" "$v" "$p" "${v%%.*}" "$p" "${minor%%.*}" "$p"
      ;;
    helm) printf -- '-X helm.sh/helm/v4/internal/version.version=v%s' "$(version_of helm helm.sh/helm/v4)" ;;
    prometheus)
      # v0.315.x of the module is release 3.15.x.
      v=$(version_of prometheus github.com/prometheus/prometheus)
      v=${v#0.}
      printf -- '-X github.com/prometheus/common/version.Version=%s.%s.%s' "${v:0:1}" "$((10#${v:1:2}))" "${v#*.}"
      ;;
  esac
}

# What a binary was built from; the same text means there is nothing to do.
fingerprint() {
  local folder=$1 package=$2
  printf '%s\n' "$package $(ldflags "$folder") $toolchain"
  cat "$here/$folder/go.mod" "$here/$folder/go.sum" | sha256sum
}

build_one() {
  local name=$1 folder=$2 package=$3 start
  start=$SECONDS
  printf '  %-25s' "$name"
  # Built beside its place and moved there: a program that runs keeps its file, and half a file is never taken for a whole one.
  if ! (cd "$here/$folder" && go build -mod=readonly -ldflags "-s -w $(ldflags "$folder")" -o "$bin/.$name.new" "$package") \
    >"$cache/$name.log" 2>&1 9>&-; then
    printf 'FAILED after %d s\n' $((SECONDS - start))
    tail -n 20 "$cache/$name.log" >&2
    rm -f "$bin/.$name.new"
    fail "go build of $name failed; the whole output is in $cache/$name.log
  (without a network the modules cannot be fetched: see GOPROXY, go env)"
  fi
  mv "$bin/.$name.new" "$bin/$name"
  fingerprint "$folder" "$package" >"$bin/.$name.stamp"
  printf '%4d s\n' $((SECONDS - start))
}

# The parts of a group that are missing or out of date, one line each.
stale() {
  local group=$1 name folder package part_group seconds
  while IFS='|' read -r name folder package part_group seconds; do
    [ "$part_group" = "$group" ] || continue
    if [ -x "$bin/$name" ] && [ "$(cat "$bin/.$name.stamp" 2>/dev/null)" = "$(fingerprint "$folder" "$package")" ]; then
      continue
    fi
    printf '%s|%s|%s|%s\n' "$name" "$folder" "$package" "$seconds"
  done <<<"$parts"
}

build_group() {
  local group=$1 todo name folder package seconds estimate=0 names='' start=$SECONDS
  # Only who has to build waits for a builder, and only for one of the same group.
  [ -n "$(stale "$group")" ] || return 0
  exec 9>"$cache/.$group.lock"
  if ! flock -n 9; then
    printf 'control plane: another build of %s is running; waiting for it\n' "$group"
    flock 9
  fi
  todo=$(stale "$group")
  [ -n "$todo" ] || return 0
  check_c_compiler
  check_disk "$cache" 1000 'the binaries' AGENTPOOL_CACHE
  check_disk "$(go env GOCACHE)" 4500 "Go's build cache" GOCACHE
  check_disk "$(go env GOMODCACHE)" 2000 "Go's module cache" GOMODCACHE
  while IFS='|' read -r name folder package seconds; do
    names="$names $name"
    estimate=$((estimate + seconds))
  done <<<"$todo"
  printf 'control plane: building%s from source into %s\n' "$names" "$bin"
  printf '  about %d min %02d s on 2 cores when nothing is cached, plus the download of the sources (1.5 GB once for all); seconds when they are\n' \
    $((estimate / 60)) $((estimate % 60))
  while IFS='|' read -r name folder package seconds; do
    build_one "$name" "$folder" "$package" </dev/null
  done <<<"$todo"
  printf 'control plane: built %s in %d s\n' "$group" $((SECONDS - start))
  exec 9>&-
}

main() {
  local groups='' group
  [ $# -gt 0 ] || set -- core
  for group in "$@"; do
    case $group in
      core | helm | prometheus) groups="$groups $group" ;;
      all) groups='core helm prometheus' ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && fail "no group named '$group'" ;;
    esac
  done
  check_tools
  toolchain=$(go env GOVERSION GOARCH CGO_ENABLED | tr '\n' ' ')
  mkdir -p "$bin"
  for group in $groups; do
    build_group "$group"
  done
  printf 'control plane:%s up to date in %s\n' "$groups" "$bin"
}

main "$@"
