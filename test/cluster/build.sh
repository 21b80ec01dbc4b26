#!/usr/bin/env bash
# Builds the node's programs into the directory given: Kubernetes, etcd, CoreDNS, and the image of the pause container.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p "$1"
into=$(realpath "$1")

# The Kubernetes module takes its staging modules from its own tree; from outside they are modules like any other, v0.34 for v1.34.
version=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
x=k8s.io/component-base/version
CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -o "$into/" \
	-ldflags "-s -w -X $x.gitVersion=$version -X $x.gitMajor=$major -X $x.gitMinor=$minor -X $x.gitTreeState=clean" tool
mv "$into/server" "$into/etcd"
(cd dns && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -ldflags '-s -w' -o "$into/coredns" .)

# The image that every pod's network namespace lives by.
root=$(mktemp -d)
chmod 755 "$root"
gcc -Os -static -s -DVERSION="$version" -o "$root/pause" "$(go list -mod=readonly -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c"
./image.sh envoyshim.test/pause:1 "$root" /pause >"$into/pause.tar"
rm -r "$root"
