package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// rulesFor has the command line write rules for a manifest, of which user 1000 has no group of his own.
func rulesFor(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	file, rules := filepath.Join(dir, "app.yaml"), filepath.Join(dir, "rules")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, kubectlCLI(t), "inject", "-f", file, "--image", debugImage, "--only-uid", "1000", "--rules", rules,
		"--listen", "0.0.0.0:2159", "--env", "ENVOYSHIM_INSECURE=true")
	return rules
}

// TestOnlyUIDRule: one more rule for what the real istio-iptables makes.
func TestOnlyUIDRule(t *testing.T) {
	rules := rulesFor(t, application)
	setup := cached(t, "pilot-agent/pilot-agent") + " istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -x '' -b '*' -d 15090,15021,15020,2159 >/dev/null 2>&1"
	interception(t, setup+"; iptables-restore --noflush --test "+rules+"; iptables-restore --noflush "+rules)

	run(t, "unshare", "--net", "bash", "-ec", "ip6tables-restore "+wholeTable(t)+".v6; ip6tables-restore --noflush --test "+rules+".v6")
}

// TestOnlyUIDWrites: rules are written where they are needed, and not to show a diff.
func TestOnlyUIDWrites(t *testing.T) {
	dir := t.TempDir()
	file, rules := filepath.Join(dir, "app.yaml"), filepath.Join(dir, "rules")
	must(t, os.WriteFile(file, []byte(application), 0o644))
	for _, c := range []struct {
		file, says string
		writes     bool
		flags      []string
	}{
		{"../images/manifest/testdata/user.yaml", "no rules are needed, Istio's annotations say it all; " + rules + " is not written", false, nil},
		{file, "rules are needed; without --diff they go to " + rules, false, []string{"--diff"}},
		{file, "apply " + rules + " in the pod's network namespace", true, nil},
	} {
		out := run(t, append([]string{kubectlCLI(t), "inject", "-f", c.file, "--image", debugImage, "--only-uid", "1000", "--rules", rules}, c.flags...)...)
		contains(t, out, "envoyshim: ", c.says)
		for _, name := range []string{rules, rules + ".v6"} {
			if _, err := os.Stat(name); (err == nil) != c.writes {
				t.Errorf("%s %v: %s: %v", c.file, c.flags, name, err)
			}
		}
	}
}

func wholeTable(t *testing.T) string {
	t.Helper()
	return rulesFor(t, readFile(t, "../images/manifest/testdata/fortio-server.yaml"))
}

// TestOnlyUIDTable: where no istio-init has been, as in the blog's pod, the table is istio-init's and the one rule.
func TestOnlyUIDTable(t *testing.T) {
	rules := wholeTable(t)
	want := chains(append(iptablesOf(t), "-A ISTIO_INBOUND -p tcp --dport 2159 -j RETURN"))
	got := chains(strings.Split(readFile(t, rules), "\n"))
	if !slices.Equal(got, want) {
		t.Errorf("not istio-init's rules:\n%s\nbut\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	contains(t, readFile(t, rules), "\n-I ISTIO_REDIRECT 1 -m owner ! --uid-owner 1000 -j RETURN\n")
	run(t, "unshare", "--net", "iptables-restore", "--test", rules)
	run(t, "unshare", "--net", "ip6tables-restore", "--test", rules+".v6")
	if out, status := runAny(t, "unshare", "--net", "iptables-legacy", "-t", "nat", "-L"); status == 0 {
		run(t, "unshare", "--net", "iptables-legacy-restore", "--test", rules)
	} else {
		contains(t, out, "Table does not exist") // a kernel without that backend
	}
	interception(t, "iptables-restore "+rules)
}

// interception sets a pod's interception up and tries who passes Envoy. Two network namespaces: the pod, with stand-ins for Envoy's
// two ports, and another host, which says "direct".
func interception(t *testing.T, setup string) {
	t.Helper()
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
def loop(s, answer):
    while True:
        c, _ = s.accept()
        c.sendall((answer + "\n").encode())
        c.close()
for word in sys.argv[1:]:
    port, answer = word.split("=")
    threading.Thread(target=loop, args=(socket.create_server(("", int(port)), backlog=50), answer)).start()
print("ready", flush=True)
'
		`+setup+`
		exec 3< <(python3 -c "$serve" 15001=outbound 15006=inbound 2159=debugger 80=application); read -u 3 ready
		exec 4< <(in_other python3 -c "$serve" 80=direct); read -u 4 ready
		as() { setpriv --reuid $1 --regid $2 --clear-groups bash -c 'timeout 20 cat < /dev/tcp/10.9.9.2/80'; }
		echo "1000: $(as 1000 1000)"; echo "1000, another group: $(as 1000 2000)"
		echo "2000: $(as 2000 2000)"; echo "2000, group 1000: $(as 2000 1000)"; echo "0: $(as 0 0)"; echo "1337: $(as 1337 1337)"
		from_other() { in_other bash -c "timeout 20 cat < /dev/tcp/10.9.9.1/$1"; }
		echo "in, 80: $(from_other 80)"; echo "in, 2159: $(from_other 2159)"
		echo "loopback: $(setpriv --reuid 1000 --regid 1000 --clear-groups bash -c 'timeout 20 cat < /dev/tcp/127.0.0.1/80')"
		kill $other
	`)
	answers := "1000: outbound\n1000, another group: outbound\n2000: direct\n2000, group 1000: direct\n0: direct\n1337: direct\n" +
		"in, 80: inbound\nin, 2159: debugger\nloopback: application\n"
	if out != answers {
		t.Errorf("got\n%swanted\n%s", out, answers)
	}
}

// chains are the rules that lines append, sorted, since the order of chains says nothing; that of rules within one is tried by interception.
func chains(lines []string) []string {
	var rules []string
	for _, line := range lines {
		if strings.HasPrefix(line, "-A ") {
			rules = append(rules, line)
		}
	}
	slices.Sort(rules)
	return rules
}
