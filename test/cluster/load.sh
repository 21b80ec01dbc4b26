#!/usr/bin/env bash
# Loads an image, a tar as docker save makes it, into the cluster of up.sh.
set -euo pipefail
file=$(realpath "$1")
cd "$(dirname "$0")"
. ./common.sh
in_node ctr -n k8s.io images import - <"$file"
