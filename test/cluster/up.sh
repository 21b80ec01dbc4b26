#!/usr/bin/env bash
# Brings up a Kubernetes of one node on this machine, for `make test-cluster CLUSTER=local`, and prints its KUBECONFIG. Needs
# root and Debian; nothing else of the machine is touched: the node lives in namespaces of its own (pid, mount, net), its state
# in ${XDG_CACHE_HOME:-~/.cache}/envoyshim/cluster-node, its cgroups under envoyshim-cluster. down.sh removes all of it.
# Kubernetes, etcd and CoreDNS are built from the Go module proxy once, for 15 minutes on two cores; containerd, runc and the CNI plugins
# are Debian's. Pods, services and DNS are as anywhere, but nothing beyond the machine is reached, and no image registry.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh

if running && kubectl get --raw /readyz >/dev/null 2>&1; then
	step 'up already'
	echo "$KUBECONFIG"
	exit
fi
./down.sh

missing=()
for p in containerd runc containernetworking-plugins util-linux iproute2 iptables procps openssl curl gcc libc6-dev; do
	dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if ((${#missing[@]})); then
	step "Debian packages: ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -q >&2
	apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
fi

if [ -d "$parts" ]; then
	step 'Kubernetes: there'
else
	step 'Kubernetes: building from the Go module proxy (about 15 minutes)'
	rm -rf "$parts.new"
	./build.sh "$parts.new" >&2
	mv "$parts.new" "$parts"
fi

step 'certificates'
mkdir -p "$state/pki"
chmod 711 "$state"
certificates
# Keys are in them: the folder is open to all, since containers have their files below it.
for who in admin kubelet controller-manager scheduler proxy; do (umask 077 && kubeconfig "$who" >"$state/$who.conf"); done

step 'node'
for c in $cgroups; do mkdir -p "$c/$cgroup"; done
# unshare forks: its child is the node's PID 1, and with it goes all that runs in the node.
setsid unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
	./node.sh "$state" "$parts" </dev/null >"$state/node.log" 2>&1 &
echo $! >"$state/pid"
until [ -n "$(pgrep -P "$(<"$state/pid")")" ]; do running || fail; sleep 0.1; done
ip link add "$link" type veth peer name eth0 netns "$(pgrep -P "$(<"$state/pid")")"
ip address add "$host_address/30" dev "$link"
ip link set "$link" up

wait_until() { # WHAT, COMMAND...: the node is slow to come up on a slow machine
	local what=$1 deadline=$((SECONDS + 300))
	shift
	step "waiting for $what"
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) && running || fail
		sleep 0.5
	done
}
wait_until 'the API server' kubectl get --raw /readyz
wait_until 'the node' kubectl wait --for=condition=Ready --timeout=5s "node/$node"
wait_until 'the default service account' kubectl get serviceaccount default
step 'up'
echo "$KUBECONFIG"
