#!/usr/bin/env bash
# Builds the node's programs into the directory given: Kubernetes, etcd, and the image of the pause container.
set -euo pipefail
cd "$(dirname "$0")"
into=$1
mkdir -p "$into"

# The Kubernetes module takes its staging modules from its own tree; from outside they are modules like any other, v0.34 for v1.34.
version=$(go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r major minor _ <<<"${version#v}"
x=k8s.io/component-base/version
CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -o "$into/" \
	-ldflags "-s -w -X $x.gitVersion=$version -X $x.gitMajor=$major -X $x.gitMinor=$minor -X $x.gitTreeState=clean" tool
mv "$into/server" "$into/etcd"

# The program that every pod's network namespace lives by, in an image as docker save makes it.
gcc -Os -static -s -DVERSION="$version" -o "$into/pause" "$(go list -mod=readonly -m -f '{{.Dir}}' k8s.io/kubernetes)/build/pause/linux/pause.c"
cd "$into"
tar --owner=0 --group=0 -cf layer.tar pause
cat >config.json <<-END
	{"architecture":"$(go env GOARCH)","os":"linux","config":{"Entrypoint":["/pause"],"User":"65535:65535"},
	"rootfs":{"type":"layers","diff_ids":["sha256:$(sha256sum <layer.tar | cut -d' ' -f1)"]}}
END
echo '[{"Config":"config.json","RepoTags":["envoyshim.test/pause:1"],"Layers":["layer.tar"]}]' >manifest.json
tar -cf pause.tar manifest.json config.json layer.tar
rm manifest.json config.json layer.tar pause
