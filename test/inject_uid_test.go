package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// iptablesOf returns the NAT rules that the real pilot-agent makes for a sidecar's pod.
func iptablesOf(t *testing.T, env ...string) []string {
	t.Helper()
	cmd := exec.Command(cached(t, "pilot-agent/pilot-agent"), "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT",
		"-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020", "--dry-run")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, rules, _ := strings.Cut(string(out), "* nat\n")
	rules, _, _ = strings.Cut(rules, "COMMIT")
	return strings.Split(strings.TrimSpace(rules), "\n")
}

// TestOnlyUIDByGroup: where the user has a group of his own Istio's own variable does it, in the real istio-iptables.
func TestOnlyUIDByGroup(t *testing.T) {
	text := readFile(t, "../images/manifest/testdata/user.yaml")
	bothForms(t, func(t *testing.T, native bool) {
		out, err := istio(t, native, ours(t, text, "--image", debugImage, "--only-uid", "1000"))
		if err != nil {
			t.Fatal(out)
		}
		setup := named(podOf(t, out).at("spec").list("initContainers"), "istio-init")
		equal(t, "the group for istio-init", env(setup, "ISTIO_OUTBOUND_OWNER_GROUPS"), "1001")
	})
	rules := strings.Join(iptablesOf(t, "ISTIO_OUTBOUND_OWNER_GROUPS=1001"), "\n")
	contains(t, rules, "-A ISTIO_OUTPUT -m owner ! --gid-owner 1001 -j RETURN")
}

// TestOnlyUIDRules: the rules are istio-init's and one more, iptables takes them in both of its backends and for IPv6, and they do it.
func TestOnlyUIDRules(t *testing.T) {
	dir := t.TempDir()
	manifest, rules := filepath.Join(dir, "app.yaml"), filepath.Join(dir, "rules")
	if err := os.WriteFile(manifest, []byte(application), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, kubectlCLI(t), "inject", "-f", manifest, "--image", debugImage, "--only-uid", "1000", "--rules", rules,
		"--listen", "0.0.0.0:2159", "--env", "ENVOYSHIM_INSECURE=true")

	extra := []string{"ISTIO_INBOUND -p tcp --dport 2159 -j RETURN", "ISTIO_OUTPUT -m owner ! --uid-owner 1000 -j RETURN"}
	want := chains(append(iptablesOf(t), "-A "+extra[0], "-A "+extra[1]))
	got := chains(strings.Split(readFile(t, rules), "\n"))
	for rule := range want {
		if !got[rule] {
			t.Errorf("istio-init has %q", rule)
		}
	}
	for rule := range got {
		if !want[rule] {
			t.Errorf("istio-init does not have %q", rule)
		}
	}

	for program, file := range map[string]string{
		"iptables-restore": rules, "iptables-legacy-restore": rules, "ip6tables-restore": rules + ".v6",
	} {
		if program == "iptables-legacy-restore" {
			if out, status := runAny(t, "unshare", "--net", "iptables-legacy", "-t", "nat", "-L"); status != 0 {
				if !strings.Contains(out, "Table does not exist") {
					t.Fatal(out)
				}
				t.Log("this kernel has no legacy iptables")
				continue
			}
		}
		run(t, "unshare", "--net", program, "--test", file)
	}

	// Two network namespaces: the pod, and another host that says "direct". In the pod, stand-ins for Envoy's two ports.
	out := run(t, "unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", `set -e
		ip link set lo up
		unshare --net sleep 1000 & other=$!
		until [ "$(readlink /proc/$other/ns/net)" != "$(readlink /proc/self/ns/net)" ] && [ "$(cat /proc/$other/comm)" = sleep ]; do :; done
		ip link add pod type veth peer name host netns $other
		ip address add 10.9.9.1/24 dev pod; ip link set pod up
		in_other() { nsenter --net --target $other "$@"; }
		in_other ip address add 10.9.9.2/24 dev host; in_other ip link set host up
		serve='
import socket, sys, threading
sockets = []
for word in sys.argv[1:]:
    port, answer = word.split("=")
    s = socket.create_server(("", int(port)), backlog=50)
    sockets.append((s, answer))
def loop(s, answer):
    while True:
        c, _ = s.accept()
        c.sendall((answer + "\n").encode())
        c.close()
for pair in sockets:
    threading.Thread(target=loop, args=pair).start()
print("ready", flush=True)
'
		iptables-restore "$0"
		exec 3< <(python3 -c "$serve" 15001=outbound 15006=inbound 2159=debugger 80=application); read -u 3 ready
		exec 4< <(in_other python3 -c "$serve" 80=direct); read -u 4 ready
		as() { setpriv --reuid $1 --regid $2 --clear-groups bash -c 'timeout 20 cat < /dev/tcp/10.9.9.2/80'; }
		echo "1000: $(as 1000 1000)"; echo "1000, another group: $(as 1000 2000)"
		echo "2000: $(as 2000 2000)"; echo "2000, group 1000: $(as 2000 1000)"; echo "0: $(as 0 0)"; echo "1337: $(as 1337 1337)"
		from_other() { in_other bash -c "timeout 20 cat < /dev/tcp/10.9.9.1/$1"; }
		echo "in, 80: $(from_other 80)"; echo "in, 2159: $(from_other 2159)"
		echo "loopback: $(setpriv --reuid 1000 --regid 1000 --clear-groups bash -c 'timeout 20 cat < /dev/tcp/127.0.0.1/80')"
		kill $other
	`, rules)
	answers := "1000: outbound\n1000, another group: outbound\n2000: direct\n2000, group 1000: direct\n0: direct\n1337: direct\n" +
		"in, 80: inbound\nin, 2159: debugger\nloopback: application\n"
	if out != answers {
		t.Errorf("got\n%swanted\n%s", out, answers)
	}
}

// chains are the rules among lines, in one spelling.
func chains(lines []string) map[string]bool {
	all := map[string]bool{}
	for _, line := range lines {
		rule, ok := strings.CutPrefix(line, "-A ")
		if !ok {
			continue
		}
		rule = strings.ReplaceAll(rule, "-m tcp ", "")
		// Only TCP comes to this chain's REDIRECT, and saying so does no harm.
		rule = strings.ReplaceAll(rule, "ISTIO_OUTPUT -p tcp -j ISTIO_REDIRECT", "ISTIO_OUTPUT -j ISTIO_REDIRECT")
		if before, after, ok := strings.Cut(rule, "-o lo "); ok {
			rule = before + after + " -o lo"
		}
		all[rule] = true
	}
	return all
}
