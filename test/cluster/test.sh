#!/usr/bin/env bash
# What `make test-cluster` does: runs the tests that need a cluster on the one that kubectl points at, or with CLUSTER=local on
# one that is brought up for them, and taken down again unless it was up before. Arguments go to go test.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
if [ "${CLUSTER:-}" = local ]; then
	was_up=$(cd "$here" && . ./common.sh && running && echo yes || true)
	trap '[ "$was_up" ] || "$here/down.sh"' EXIT
	KUBECONFIG=$("$here/up.sh")
	"$here/istio.sh"
	export ENVOYSHIM_TEST_ISTIO=1
	PATH=$(cd "$here" && . ./common.sh && echo "$parts"):$PATH
	export KUBECONFIG PATH
	LOAD=test/cluster/load.sh
fi
cd "$here/../.."
if [ -z "${IMAGE:-}${LOAD:-}" ]; then
	echo "test-cluster: there is no registry to push the debug image to: give IMAGE=REF, LOAD='kind load image-archive', or CLUSTER=local" >&2
	exit 2
fi
ENVOYSHIM_TEST_IMAGE=${IMAGE:-} ENVOYSHIM_TEST_LOAD=${LOAD:-} go test -tags cluster -count=1 -timeout 30m -run '^TestCluster' "$@" ./test
