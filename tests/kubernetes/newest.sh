#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl of the release in go.mod from their Go
# modules, and prints the folder in the cache that holds them.
#
# With --cached it builds nothing, and fails where the cache has none; with --ready it builds only where the Go that it needs
# is on PATH. Exits with 69 (EX_UNAVAILABLE), and says why in one line, where a build is not possible on this machine (no Go, no
# Go module proxy): kubernetes.py then takes the oldest. Anything else that goes wrong is a failure.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/k3s-upgrade-agent
mkdir -p "$cache"
release=$(sed -nE 's|^\s*k8s\.io/kubernetes (v[0-9.]+)( // indirect)?$|\1|p' "$here/go.mod")
needed=$(sed -nE 's|^go ([0-9.]+)$|\1|p' "$here/go.mod")
# Raise the number when this recipe changes: the binaries are kept under this name for good.
target=$cache/kubernetes-${release#v}-$(sha256sum <"$here/go.mod" | cut -c1-8)-1

say() { echo "kubernetes/newest: $*" >&2; }
impossible() {
    say "$*; going on with Debian's Kubernetes"
    exit 69
}
found() {
    [ ! -x "$target/kube-apiserver" ] || {
        echo "$target"
        exit
    }
}

found
[ "${1:-}" != --cached ] || exit 1
# One build at a time; whoever waited finds the other's result.
exec 9>"$cache/kubernetes-${release#v}.lock"
flock 9
found

rm -rf "$cache/kubernetes-${release#v}"-build.*
work=$(mktemp -d "$cache/kubernetes-${release#v}-build.XXXXXX")
trap 'rm -rf "$work"' EXIT

at_least() { [ "$(printf '%s\n' "$@" | sort -V | head -1)" = "$1" ]; } # VERSION, what there is

# The machine's own Go where it will do; else the one of Debian's backports, which can get the toolchain that it is asked for as
# a module. Unpacked, not installed: nothing of the machine's configuration is changed.
choose_go() {
    local there
    there=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -E 's/^go//; s/ .*//') || true
    if [ -n "$there" ] && at_least "$needed" "$there"; then
        export GOTOOLCHAIN=local
        return
    fi
    [ "${1:-}" != --ready ] || impossible "Go $needed is needed, and PATH has ${there:-none}"
    mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work/deb"
    "$here/../cluster/debian-sources.sh" | sed -nE 's/ ([a-z]+) main$/ \1-backports main/p' >"$work/apt/sources.list"
    local options=(-q -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update >&2 || impossible "Go $needed is needed, and Debian's backports can't be reached"
    local version
    version=$(apt-cache "${options[@]}" depends golang-go | sed -nE 's/^ *Depends: golang-([0-9.]+)-go$/\1/p')
    [ -n "$version" ] || impossible "Go $needed is needed, and Debian's backports have none"
    (cd "$work/deb" && apt-get "${options[@]}" download "golang-$version-go" "golang-$version-src" >&2)
    for deb in "$work"/deb/*.deb; do dpkg -x "$deb" "$work/deb/root"; done
    export GOROOT=$work/deb/root/usr/lib/go-$version GOTOOLCHAIN=auto
    export PATH=$GOROOT/bin:$PATH
}

unset GOROOT
choose_go "${1:-}"
export GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0 GOCACHE=$work/gocache GO111MODULE=on
cd "$here"
if ! said=$(go mod download "k8s.io/kubernetes" 2>&1); then
    # A wrong sum is no proxy that can't be reached.
    [[ $said != *"checksum mismatch"* && $said != *"SECURITY ERROR"* ]] || {
        say "$said"
        exit 1
    }
    impossible "no Go module proxy can be reached: ${said##*$'\n'}"
fi

say "building Kubernetes ${release#v} and etcd by $(go version | cut -d' ' -f3): some ten minutes"
mkdir "$work/result"
minor=${release#v1.}
# What the release's own build tells its programs.
version=k8s.io/component-base/version
go build -trimpath -o "$work/result/" \
    -ldflags "-s -w -X $version.gitVersion=$release -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}" \
    k8s.io/kubernetes/cmd/kube-{apiserver,controller-manager,scheduler} k8s.io/kubernetes/cmd/kubectl >&2
go build -trimpath -o "$work/result/etcd" -ldflags "-s -w" go.etcd.io/etcd/server/v3 >&2
"$work/result/kube-apiserver" --version >&2
sync -f "$work/result"
mv -T "$work/result" "$target"
echo "$target"
