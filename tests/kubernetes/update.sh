#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes go.mod and go.sum fit its line `k8s.io/kubernetes vX.Y.Z`, which is the one to change.
#
# k8s.io/kubernetes names the modules that it is published with as folders of its own; each has the tag v0.Y.Z. etcd is the one
# whose client it has.
set -euo pipefail
cd "$(dirname "$0")"
release=$(go mod edit -json | jq -r '.Require[]? | select(.Path == "k8s.io/kubernetes") | .Version')
[ -n "$release" ] || { echo "$PWD/go.mod: no line 'k8s.io/kubernetes vX.Y.Z'" >&2; exit 1; }
export GOFLAGS=-mod=mod
theirs=$(go mod download -json "k8s.io/kubernetes@$release" | jq -r .GoMod)

edits=()
for old in $(go mod edit -json | jq -r '.Replace[]?.Old.Path'); do edits+=("-dropreplace=$old"); done
# What was needed only by the release before would keep later versions than those the release was tested with.
for old in $(go mod edit -json | jq -r '.Require[]? | select(.Indirect and .Path != "k8s.io/kubernetes" and .Path != "go.etcd.io/etcd/server/v3") | .Path'); do edits+=("-droprequire=$old"); done
for module in $(go mod edit -json "$theirs" | jq -r '.Replace[].Old.Path'); do
    edits+=("-replace=$module=$module@v0${release#v1}")
done
etcd=$(go mod edit -json "$theirs" | jq -r '.Require[] | select(.Path == "go.etcd.io/etcd/client/v3") | .Version')
go mod edit "-go=$(go mod edit -json "$theirs" | jq -r .Go)" "-require=go.etcd.io/etcd/server/v3@$etcd" "${edits[@]}"
go mod tidy
