#!/usr/bin/env bash
# The node, from inside: PID 1 of its namespaces, started by up.sh with the state and the parts. When one of them ends all do.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh
parts=$2

# Inside, the state is at a short path, because sockets' paths are limited to 107 bytes, and what programs put into /run and
# /var/log by fixed paths stays in here.
mount -t tmpfs tmpfs /run
mkdir /run/node
mount --bind "$state" /run/node
mount -t tmpfs tmpfs /var/log
mount --make-rshared /
# The kubelet sets these for the whole machine, unless they have the values that it wants.
while read -r name value; do
	echo "$value" >"/run/$name"
	mount --bind "/run/$name" "/proc/sys/${name//.//}"
done <<-END
	vm.overcommit_memory 1
	vm.panic_on_oom 0
	kernel.panic 10
	kernel.panic_on_oops 1
	kernel.keys.root_maxkeys 1000000
	kernel.keys.root_maxbytes 25000000
END
cd /run/node
mkdir -p etcd containerd cni kubelet logs

until ip link show eth0 >/dev/null 2>&1; do sleep 0.1; done
ip link set lo up
ip address add "$node_address/30" dev eth0
ip link set eth0 up
ip route add default via "$host_address"
sysctl -qw net.ipv4.ip_forward=1

start() { # NAME COMMAND...
	"${@:2}" >"$1.log" 2>&1 &
}

start etcd "$parts/etcd" --data-dir etcd --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync

cat >containerd.toml <<-END
	version = 2
	root = "/run/node/containerd"
	state = "/run/containerd"
	[plugins."io.containerd.internal.v1.opt"]
	  path = "/run/node/containerd/opt"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "envoyshim.test/pause:1"
	  netns_mounts_under_state_dir = true
	  # Without CAP_SYS_RESOURCE, as root in a container or a small virtual machine may be, runc could not lower the score.
	  restrict_oom_score_adj = true
	  [plugins."io.containerd.grpc.v1.cri".cni]
	    bin_dir = "/usr/lib/cni"
	    conf_dir = "/run/node/cni"
END
cat >cni/pods.conflist <<-END
	{"cniVersion": "0.4.0", "name": "pods", "plugins": [
	  {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/run/cni",
	    "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
start containerd containerd --config containerd.toml

start apiserver "$parts/kube-apiserver" --etcd-servers http://127.0.0.1:2379 --advertise-address "$node_address" --allow-privileged \
	--authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --enable-aggregator-routing \
	--service-cluster-ip-range "$services" --service-account-issuer https://kubernetes.default.svc \
	--service-account-key-file pki/service-accounts.key --service-account-signing-key-file pki/service-accounts.key \
	--client-ca-file pki/ca.crt --tls-cert-file pki/apiserver.crt --tls-private-key-file pki/apiserver.key \
	--kubelet-client-certificate pki/admin.crt --kubelet-client-key pki/admin.key --kubelet-preferred-address-types InternalIP

until ctr version >/dev/null 2>&1; do sleep 0.2; done
ctr -n k8s.io images import "$parts/pause.tar"

cat >kubelet.yaml <<-END
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /run/node/pki/ca.crt}}
	authorization: {mode: Webhook}
	containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
	cgroupDriver: cgroupfs
	cgroupRoot: /$cgroup
	failSwapOn: false
	failCgroupV1: false
	clusterDNS: [$node_address]
	clusterDomain: cluster.local
	podLogsDir: /run/node/logs
	volumePluginDir: /run/node/kubelet/volume-plugins
	# Images cannot be pulled again, and the disk is the user's.
	imageGCHighThresholdPercent: 100
	evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%}
END
start kubelet "$parts/kubelet" --config kubelet.yaml --kubeconfig kubelet.conf --hostname-override "$node" --node-ip "$node_address" \
	--root-dir /run/node/kubelet --cert-dir /run/node/kubelet/pki

# The controllers end when they find no API server for ten seconds.
until curl -fsk "https://$node_address:6443/readyz" >/dev/null; do sleep 0.5; done
start controller-manager "$parts/kube-controller-manager" --kubeconfig controller-manager.conf --leader-elect=false \
	--use-service-account-credentials --service-account-private-key-file pki/service-accounts.key --root-ca-file pki/ca.crt
start scheduler "$parts/kube-scheduler" --kubeconfig scheduler.conf --leader-elect=false
# The connection tracker's size is the machine's.
start proxy "$parts/kube-proxy" --kubeconfig proxy.conf --hostname-override "$node" --proxy-mode iptables --cluster-cidr "$pods" \
	--conntrack-max-per-core 0 --conntrack-min 0
cat >Corefile <<-END
	.:53 {
	  bind $node_address
	  errors
	  kubernetes cluster.local {
	    kubeconfig /run/node/admin.conf
	  }
	}
END
start dns "$parts/coredns" -conf Corefile

wait -n -p ended
echo "$(jobs -l "$ended" 2>/dev/null || echo "$ended") ended"
