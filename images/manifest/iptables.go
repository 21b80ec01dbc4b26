package manifest

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// proxyUID is the user that Envoy runs as in a sidecar.
const proxyUID = "1337"

// ownerGroups is the one thing that Istio's interception knows of users: their groups (pilot-agent istio-iptables).
const ownerGroups = "ISTIO_OUTBOUND_OWNER_GROUPS"

// onlyUID has only one user's outbound traffic pass Envoy. Istio can tell groups apart: that serves where the user has one of his own in
// the manifest. Else the rules of [Rules] are needed.
func (i *injection) onlyUID(form form, c container) error {
	uid := i.options.OnlyUID
	if uid == "" {
		return nil
	}
	if form == plain || i.isGateway() {
		return i.refuse("--only-uid is about the interception of a sidecar's pod, and there is none here")
	}
	group := i.groupOf(uid)
	if group == "" || form == injected {
		i.result.UIDs = append(i.result.UIDs, i.workload.String())
		return nil
	}
	return i.metadata(ownerGroups, group)
}

// groupOf returns the group that only this user's containers run with, or "".
func (i *injection) groupOf(uid string) string {
	group := ""
	var others []string
	for _, c := range i.containers() {
		user, g := i.effective(c, "runAsUser"), i.effective(c, "runAsGroup")
		switch {
		case user != uid:
			others = append(others, g)
		case g == "" || g == "0" || g == proxyUID || group != "" && g != group:
			return ""
		default:
			group = g
		}
	}
	if slices.Contains(others, group) || slices.Contains(others, "") {
		return ""
	}
	return group
}

func (i *injection) effective(c container, name string) string {
	for _, context := range []*yaml.Node{find(c.node, "securityContext"), i.spec("securityContext")} {
		if value := text(find(context, name)); value != "" {
			return value
		}
	}
	return ""
}

// Rules are the NAT rules of a sidecar's pod with which only one user's outbound traffic passes Envoy, for iptables-restore: those of
// istio-init (pilot-agent istio-iptables, interception mode REDIRECT, all ports) and one more. exclude are inbound ports that are left
// alone beside Istio's own. It replaces the pod's whole nat table.
func Rules(uid string, exclude []string, v6 bool) string {
	program, loopback, passthrough := "iptables-restore", "127.0.0.1/32", "127.0.0.6/32"
	if v6 {
		program, loopback, passthrough = "ip6tables-restore", "::1/128", "::6/128"
	}
	var inbound strings.Builder
	for _, port := range append([]string{"15008", "15090", "15021", "15020"}, exclude...) {
		fmt.Fprintf(&inbound, "-A ISTIO_INBOUND -p tcp -m tcp --dport %s -j RETURN\n", port)
	}
	return fmt.Sprintf(`# Only the outbound traffic of user %[1]s passes Envoy; inbound traffic passes it as before.
#
# To apply it, in the pod's network namespace, after istio-init and as root with CAP_NET_ADMIN there; from the node, with the pid of any
# process of the pod:
#     nsenter --net --target PID %[2]s < THIS-FILE
# or from a cluster that lets you, with an image that has iptables:
#     kubectl debug -i POD --profile=netadmin --image=IMAGE -- %[2]s < THIS-FILE
# It replaces the pod's nat table, until the pod ends. "%[2]s --test" only checks it.
#
# iptables comes with two backends, nft and legacy, whose tables do not see each other: use the one that istio-init used
# (iptables-save warns when the other one has rules, too; %[2]s --version names its own). Where Istio itself writes nftables
# (values.global.nativeNftables) or istio-cni does the work, its rules lie elsewhere and this is not for them.
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
# Inbound: Istio's own ports, and the debug port if it is open beyond the pod, are left alone; all else goes to Envoy.
-A PREROUTING -p tcp -j ISTIO_INBOUND
%[3]s-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
# Outbound.
-A OUTPUT -j ISTIO_OUTPUT
# What Envoy sends to the application, from its own address.
-A ISTIO_OUTPUT -s %[4]s -o lo -j RETURN
# What Envoy sends to the pod's own address, as the application calling itself through a service, comes in again as inbound.
-A ISTIO_OUTPUT ! -d %[5]s -o lo -p tcp -m tcp ! --dport 15008 -m owner --uid-owner %[6]s -j ISTIO_IN_REDIRECT
# The application's own loopback traffic, and all else that Envoy sends.
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner %[6]s -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner %[6]s -j RETURN
-A ISTIO_OUTPUT ! -d %[5]s -o lo -p tcp -m tcp ! --dport 15008 -m owner --gid-owner %[6]s -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner %[6]s -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner %[6]s -j RETURN
# The one rule that Istio does not have: everybody else passes Envoy by. By user, not by group: the group may be anybody's.
-A ISTIO_OUTPUT -m owner ! --uid-owner %[1]s -j RETURN
-A ISTIO_OUTPUT -d %[5]s -j RETURN
-A ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
COMMIT
`, uid, program, inbound.String(), passthrough, loopback, proxyUID)
}
