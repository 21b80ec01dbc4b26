#!/usr/bin/env bash
# Writes an image of one layer, a folder, as docker save would: image.sh REFERENCE FOLDER ENTRYPOINT >FILE.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
tar -C "$2" --owner=0 --group=0 -cf "$work/layer.tar" .
cat >"$work/config.json" <<-END
	{"architecture":"$(go env GOARCH)","os":"linux","config":{"Entrypoint":["$3"],"User":"65535:65535"},
	"rootfs":{"type":"layers","diff_ids":["sha256:$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)"]}}
END
echo '[{"Config":"config.json","RepoTags":["'"$1"'"],"Layers":["layer.tar"]}]' >"$work/manifest.json"
tar -C "$work" -cf - manifest.json config.json layer.tar
