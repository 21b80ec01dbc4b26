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
// the manifest. Else [Rules] are needed.
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
		_, init := i.workload.container("istio-init")
		i.result.RulesFor = append(i.result.RulesFor, i.workload.String())
		i.result.WholeTable = i.result.WholeTable || form == injected && !init
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

// Rules are what Istio's annotations cannot say about one user's traffic, for iptables-restore; the tables of IPv6 are other ones.
type Rules struct {
	UID   string
	Ports []string // inbound ones that are left alone beside Istio's own; only with Whole
	Whole bool     // the pod has no istio-init: make the whole nat table
	V6    bool
}

// String is the file, with comments.
func (r Rules) String() string {
	program, option, what := "iptables-restore", " --noflush", "It adds one rule to those that istio-init has made."
	if r.V6 {
		program = "ip6tables-restore"
	}
	rules := oneRule(r.UID)
	if r.Whole {
		option, what = "", "It replaces the pod's whole nat table, which nobody else makes there: the manifest has no istio-init."
		rules = r.table()
	}
	return fmt.Sprintf(`# Only the outbound traffic of user %[1]s passes Envoy; inbound traffic passes it as before.
# %[3]s It lasts until the pod ends.
#
# Apply it in the pod's network namespace, as root with CAP_NET_ADMIN there; from the node, with the pid of any process of the pod:
#     nsenter --net --target PID %[2]s < THIS-FILE
# or from a cluster that lets you, with an image that has iptables:
#     kubectl debug -i POD --profile=netadmin --image=IMAGE -- %[2]s < THIS-FILE
# With --test it is only checked.
#
# iptables comes with two backends, nft and legacy, whose tables do not see each other: use the one that istio-init used
# (iptables-save warns when the other one has rules, too; iptables --version names its own). Where Istio itself writes nftables
# (values.global.nativeNftables) its rules lie elsewhere, and this is not for them.
*nat
%[4]sCOMMIT
`, r.UID, program+option, what, rules)
}

// oneRule goes into the chain that sends outbound traffic to Envoy. Envoy's own never comes there, nor does what annotations exclude.
func oneRule(uid string) string {
	return `# Everybody else passes Envoy by. By user, not by group: the group may be anybody's.
-I ISTIO_REDIRECT 1 -m owner ! --uid-owner ` + uid + ` -j RETURN
`
}

// table is istio-init's (pilot-agent istio-iptables, interception mode REDIRECT, all ports), and the one rule.
func (r Rules) table() string {
	loopback, passthrough := "127.0.0.1/32", "127.0.0.6/32"
	if r.V6 {
		loopback, passthrough = "::1/128", "::6/128"
	}
	var inbound strings.Builder
	for _, port := range append([]string{"15008", "15090", "15021", "15020"}, r.Ports...) {
		fmt.Fprintf(&inbound, "-A ISTIO_INBOUND -p tcp --dport %s -j RETURN\n", port)
	}
	return fmt.Sprintf(`:ISTIO_INBOUND - [0:0]
:ISTIO_IN_REDIRECT - [0:0]
:ISTIO_OUTPUT - [0:0]
:ISTIO_REDIRECT - [0:0]
# Inbound: Istio's own ports, and the debug port if it is open beyond the pod, are left alone; all else goes to Envoy.
-A PREROUTING -p tcp -j ISTIO_INBOUND
%[1]s-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
# Outbound.
-A OUTPUT -j ISTIO_OUTPUT
# What Envoy sends to the application, from its own address.
-A ISTIO_OUTPUT -o lo -s %[2]s -j RETURN
# What Envoy sends to the pod's own address, as the application calling itself through a service, comes in again as inbound.
-A ISTIO_OUTPUT -o lo ! -d %[3]s -p tcp ! --dport 15008 -m owner --uid-owner %[4]s -j ISTIO_IN_REDIRECT
# The application's own loopback traffic, and all else that Envoy sends.
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner %[4]s -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner %[4]s -j RETURN
-A ISTIO_OUTPUT -o lo ! -d %[3]s -p tcp ! --dport 15008 -m owner --gid-owner %[4]s -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner %[4]s -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner %[4]s -j RETURN
-A ISTIO_OUTPUT -d %[3]s -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
%[5]s`, inbound.String(), passthrough, loopback, proxyUID, oneRule(r.UID))
}
