#!/usr/bin/env bash
# Puts the real Istio, built from the Go module proxy, into the cluster of up.sh: istiod with its injector. Does nothing when it is
# there. Envoy's own releases lack the filters of Istio's, so istiod is told to configure none of them.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh

kubectl -n istio-system rollout status deployment/istiod --timeout 1s >/dev/null 2>&1 && exit
istio=$cache/istio-$(cat istio/go.mod istio/go.sum istio.sh image.sh | sha256sum | cut -c1-12)
if [ -d "$istio" ]; then
	step 'Istio: there'
else
	step 'Istio: building from the Go module proxy (about 10 minutes)'
	rm -rf "$istio.new"
	mkdir -p "$istio.new/root"
	(cd istio && CGO_ENABLED=0 GOFLAGS=-mod=readonly nice go build -trimpath -ldflags '-s -w' -o "$istio.new/" tool)
	mv "$istio.new/pilot-discovery" "$istio.new/root/"
	mkdir -m 1777 "$istio.new/root/tmp"
	./image.sh envoyshim.test/pilot:local "$istio.new/root" /pilot-discovery >"$istio.new/pilot.tar"
	rm -r "$istio.new/root"
	mv "$istio.new" "$istio"
fi

step 'Istio: installing'
./load.sh "$istio/pilot.tar" >/dev/null
"$istio/istioctl" manifest generate --set profile=minimal --set hub=envoyshim.test --set tag=local --set values.pilot.autoscaleEnabled=false \
	--set values.telemetry.enabled=false --set values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE=false >"$state/istio.yaml"
kubectl create namespace istio-system --dry-run=client -o yaml | kubectl apply -f - >/dev/null
kubectl apply --server-side --force-conflicts -f "$state/istio.yaml" >/dev/null
kubectl -n istio-system rollout status deployment/istiod --timeout 300s >/dev/null
# Nobody's listeners are configured in a pod but its own: those of services have a filter of Istio's.
kubectl apply --server-side -f - >/dev/null <<-END
	apiVersion: networking.istio.io/v1
	kind: Sidecar
	metadata: {name: default, namespace: istio-system}
	spec: {egress: [{hosts: ["~/*"]}]}
END
step 'Istio: up'
