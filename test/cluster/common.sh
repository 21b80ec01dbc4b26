# What the scripts of this folder share.
# shellcheck shell=bash disable=SC2034
cache=${XDG_CACHE_HOME:-$HOME/.cache}/envoyshim
parts=$cache/cluster-$(cat go.mod go.sum dns/* build.sh image.sh | sha256sum | cut -c1-12)
state=$cache/cluster-node
export KUBECONFIG=$state/admin.conf

node=envoyshim
cgroup=envoyshim-cluster
cgroups=$(findmnt -rn -t cgroup,cgroup2 -o TARGET)
link=envoyshim0
# From the block for benchmarks (RFC 2544), which no real network uses.
host_address=198.18.77.1
node_address=198.18.77.2
pods=198.18.78.0/24
services=198.18.79.0/24
api_service=198.18.79.1

step() { printf '\033[1mcluster:\033[0m %s\n' "$*" >&2; }

fail() {
	tail -n 15 "$state"/*.log >&2
	step "it does not come up; the logs are in $state"
	exit 1
}

kubectl() { "$parts/kubectl" "$@"; }

# running is whether the node's processes are there. A pid is taken for ours only with our command line.
running() { [ -e "$state/pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$(<"$state/pid")/cmdline" | grep -qF "node.sh $state"; }

# in_node runs a command in the node's namespaces.
in_node() { nsenter --target "$(pgrep -P "$(<"$state/pid")")" --mount --net --pid "$@"; }

# certificates makes an authority, and what each part shows to the others: its subject is its name in Kubernetes.
certificates() (
	umask 077
	cd "$state/pki" || exit
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=envoyshim-cluster -keyout ca.key -out ca.crt 2>/dev/null
	openssl genrsa -out service-accounts.key 2048 2>/dev/null
	certificate apiserver /CN=kube-apiserver
	certificate admin /O=system:masters/CN=admin
	certificate kubelet "/O=system:nodes/CN=system:node:$node"
	certificate controller-manager /CN=system:kube-controller-manager
	certificate scheduler /CN=system:kube-scheduler
	certificate proxy /CN=system:kube-proxy
)

certificate() { # NAME SUBJECT
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
	openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -out "$1.crt" 2>/dev/null \
		-extfile <(echo "subjectAltName=IP:$node_address,IP:$api_service,IP:127.0.0.1,DNS:$node,DNS:kubernetes.default.svc")
}

kubeconfig() { # NAME
	cat <<-END
		apiVersion: v1
		kind: Config
		current-context: envoyshim-cluster
		contexts: [{name: envoyshim-cluster, context: {cluster: envoyshim-cluster, user: $1}}]
		clusters:
		- name: envoyshim-cluster
		  cluster: {server: "https://$node_address:6443", certificate-authority-data: $(base64 -w0 "$state/pki/ca.crt")}
		users:
		- name: $1
		  user:
		    client-certificate-data: $(base64 -w0 "$state/pki/$1.crt")
		    client-key-data: $(base64 -w0 "$state/pki/$1.key")
	END
}
