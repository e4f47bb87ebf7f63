#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds kube-apiserver, kube-controller-manager and kube-scheduler from Debian's source package
# `kubernetes`, and prints the folder in the cache that holds them (with Debian's kubectl).
# With --cached it builds nothing, and fails where the cache has none.
#
# Debian 12 ships the source (1.20.2, dependencies vendored) but only kubectl as a program. Nothing of
# the machine's apt configuration is changed: the source index lives in a folder of our own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/k3s-upgrade-agent
# Raise the last number when this recipe changes: the binaries are kept under this name for good.
version=1.20.2-1
target=$cache/kubernetes-$version

if [ -d "$target" ]; then
    echo "$target"
    exit
fi
[ "${1:-}" != --cached ] || exit 1

mkdir -p "$cache"
# One build at a time; whoever waited finds the other's result.
exec 9>"$cache/kubernetes-$version.lock"
flock 9
if [ -d "$target" ]; then
    echo "$target"
    exit
fi

rm -rf "$cache"/kubernetes-build.*
work=$(mktemp -d "$cache/kubernetes-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt's own user reads its downloads back
say() { echo "kubernetes/oldest: $*" >&2; }

mkdir -p "$work"/apt/{lists/partial,cache/archives/partial} "$work/deb"
"$here/../cluster/debian-sources.sh" >"$work/apt/sources.list"
private_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache" \
        -o APT::Sandbox::User=root "$@" >&2
}
say "fetching the sources"
private_apt update
(cd "$work/deb" && private_apt source --download-only kubernetes &&
    private_apt download golang-github-modern-go-reflect2-dev kubernetes-client)

gopath=$work/go
source=$gopath/src/k8s.io/kubernetes
mkdir -p "$gopath/src/k8s.io"
dpkg-source --no-check -x "$work"/deb/kubernetes_*.dsc "$source" >&2

# The vendored reflect2 reads Go's internals as they were before 1.17 and crashes when built by 1.19.
for deb in "$work"/deb/*.deb; do dpkg -x "$deb" "$work/deb/root"; done
rm -rf "$source/vendor/github.com/modern-go/reflect2"
cp -r "$work/deb/root/usr/share/gocode/src/github.com/modern-go/reflect2" \
    "$source/vendor/github.com/modern-go/"

say "building: five to ten minutes"
# `make` generates what is not in the source package (OpenAPI, conversions) before it compiles. Its
# version is taken from git where nothing else tells; the real one is given, so that /version is right.
cat >"$work/version" <<V
KUBE_GIT_COMMIT=faecb196815e248d3ecfb03c680a4507229c2a56
KUBE_GIT_TREE_STATE=archive
KUBE_GIT_VERSION=v1.20.2
KUBE_GIT_MAJOR=1
KUBE_GIT_MINOR=20
V
(
    cd "$source"
    # Debian's Go, whatever else is on PATH: reflect2 is chosen to fit it.
    unset GOROOT GOFLAGS
    export PATH=/usr/lib/go-1.19/bin:$PATH
    export GOPATH=$gopath GO111MODULE=off GOCACHE=$work/gocache KUBE_GIT_VERSION_FILE=$work/version
    make GOFLAGS=-p="$(nproc)" GOLDFLAGS=-w KUBE_VERBOSE=0 \
        WHAT="cmd/kube-apiserver cmd/kube-controller-manager cmd/kube-scheduler"
) >&2

mkdir "$work/result"
cp "$source"/_output/bin/kube-{apiserver,controller-manager,scheduler} "$work/result/"
cp "$work/deb/root/usr/bin/kubectl" "$work/result/"
"$work/result/kube-apiserver" --version >&2
sync -f "$work/result"
mv -T "$work/result" "$target"
echo "$target"
