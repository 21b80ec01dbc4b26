package test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// nodeDoctor runs doctor --node with both outputs, by the words given, and returns the findings by their layers, and the exit status.
func nodeDoctor(t testing.TB, by ...string) (map[string]finding, int) {
	t.Helper()
	run := func(flags ...string) result {
		return finish(t, append(append(by, cli(t), "doctor", "--node"), flags...)...)
	}
	asJSON, table := run("--json"), run()
	var all []finding
	if err := json.Unmarshal([]byte(asJSON.stdout), &all); err != nil || asJSON.stderr != "" || asJSON.code != table.code {
		t.Fatalf("%v: %+v %+v", err, asJSON, table)
	}
	found := map[string]finding{}
	for i, line := range strings.Split(table.stdout, "\n") {
		contains(t, line, all[i].Verdict, all[i].Layer, all[i].Cure) // what was found may have a pid
		if found[all[i].Layer] = all[i]; (all[i].Verdict == "ok") != (all[i].Cure == "") {
			t.Errorf("%+v", all[i])
		}
	}
	return found, asJSON.code
}

func TestDoctorOfTheNode(t *testing.T) {
	without := func(caps string) []string { return []string{"setpriv", "--bounding-set", caps, "--inh-caps", "-all"} }
	denied := func(nr int) []string { return []string{fixture(t, "bin/test/deny"), "1", strconv.Itoa(nr)} }
	for what, c := range map[string]struct {
		by     []string
		finds  map[string]string // all else is ok
		method string            // with which catch works
	}{
		"root on the node": {nil, nil, "--method auto takes ebpf"},
		"no capability": {without("-all"), map[string]string{
			"ebpf":       "eBPF needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN",
			"ptrace":     "CAP_SYS_PTRACE is missing",
			"namespaces": "CAP_SYS_ADMIN is missing",
			"memory":     "CAP_DAC_OVERRIDE is missing",
			"signals":    "CAP_KILL is missing",
			"catch":      "only --follow PID, for processes of the own uid",
		}, ""},
		"another uid": {[]string{"setpriv", "--reuid", "1337", "--clear-groups"}, map[string]string{
			"ebpf":       "eBPF needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN",
			"ptrace":     "CAP_SYS_PTRACE is missing",
			"namespaces": "CAP_SYS_ADMIN is missing",
			"memory":     "CAP_DAC_OVERRIDE is missing",
			"signals":    "CAP_KILL is missing",
			"catch":      "only --follow PID, for processes of the own uid",
		}, ""},
		"neither method": {append(without("-bpf,-sys_admin"), denied(unix.SYS_PTRACE)...), map[string]string{
			"ebpf":       "eBPF needs CAP_BPF, or CAP_SYS_ADMIN",
			"ptrace":     "a process cannot be traced",
			"namespaces": "CAP_SYS_ADMIN is missing",
			"catch":      "neither of its methods is there",
		}, ""},
		"what eBPF needs": {without("-all,+bpf,+perfmon,+kill,+dac_override"), map[string]string{
			"ptrace":     "CAP_SYS_PTRACE is missing",
			"namespaces": "CAP_SYS_ADMIN is missing",
		}, "--method auto takes ebpf"},
		"what ptrace needs": {without("-all,+sys_ptrace,+kill,+dac_override"), map[string]string{
			"ebpf":       "eBPF needs CAP_BPF and CAP_PERFMON",
			"namespaces": "CAP_SYS_ADMIN is missing",
		}, "--method auto takes ptrace"},
		"no override": {without("+all,-dac_override"), map[string]string{"memory": "CAP_DAC_OVERRIDE is missing"}, "--method auto takes ebpf"},
		"no chroot":   {without("+all,-sys_chroot"), map[string]string{"namespaces": "CAP_SYS_CHROOT is missing"}, "--method auto takes ebpf"},
		"seccomp against eBPF": {denied(unix.SYS_BPF), map[string]string{
			"ebpf": "a seccomp filter refuses bpf(2)",
		}, "--method auto takes ptrace"},
		"seccomp against ptrace": {denied(unix.SYS_PTRACE), map[string]string{
			"ptrace": "a process cannot be traced",
		}, "--method auto takes ebpf"},
		"seccomp against setns": {denied(unix.SYS_SETNS), map[string]string{
			"namespaces": "setns(2) is refused, though the capabilities are there",
		}, "--method auto takes ebpf"},
		"a pid namespace": {[]string{"unshare", "--pid", "--fork", "--mount-proc"}, map[string]string{
			"pid namespace": "only processes of this one and those below",
		}, "--method auto takes ebpf"},
		"a user namespace": {[]string{"unshare", "--user", "--map-root-user"}, map[string]string{
			"ebpf":       "initial user namespace",
			"namespaces": "this user namespace is not the node's own",
		}, "--method auto takes ptrace"},
	} {
		t.Run(what, func(t *testing.T) {
			found, code := nodeDoctor(t, c.by...)
			blocked := 0
			for layer, f := range found {
				text, wrong := c.finds[layer]
				if wrong != (f.Verdict != "ok") || !strings.Contains(f.Found, text) {
					t.Errorf("%+v", f)
				}
				if f.Verdict == "blocked" {
					blocked = 1
				}
				// What a container has added is root's.
				if asRoot := strings.Contains(f.Cure, "as root of a container"); asRoot != (what == "another uid" && wrong && layer != "catch") {
					t.Errorf("%+v", f)
				}
			}
			contains(t, found["catch"].Found, c.method)
			if (what == "neither method") != (blocked == 1) {
				t.Errorf("%+v", found)
			}
			if len(found) != 8 || code != blocked {
				t.Errorf("exit status %d: %+v", code, found)
			}
		})
	}
}

// nsenter --pid without --mount: nothing else can be told.
func TestDoctorOfAForeignProc(t *testing.T) {
	found, code := nodeDoctor(t, "unshare", "--pid", "--fork")
	f := found["pid namespace"]
	contains(t, f.Found, "/proc is not of this process's pid namespace")
	if f.Verdict != "blocked" || len(found) != 1 || code != 1 {
		t.Errorf("exit status %d: %+v", code, found)
	}
}
