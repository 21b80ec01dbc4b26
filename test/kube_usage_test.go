package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the commands by pod say before they have reached a cluster.
func TestPodCommandsWithoutACluster(t *testing.T) {
	dir := sharedDir(t)
	config := filepath.Join(dir, "config")
	must(t, os.WriteFile(config, []byte(`{"apiVersion":"v1","kind":"Config","current-context":"test",
"clusters":[{"name":"test","cluster":{"server":"http://127.0.0.1:1"}}],"users":[{"name":"test","user":{}}],
"contexts":[{"name":"test","context":{"cluster":"test","user":"test"}}]}`), 0o600))
	names := " names no pod: POD, or deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME"
	for args, want := range map[string]result{
		"attach svc/x":                       {"", `envoyshim: "svc/x"` + names, 2},
		"resume a/b/c":                       {"", `envoyshim: "a/b/c"` + names, 2},
		"doctor deploy/":                     {"", `envoyshim: "deploy/"` + names, 2},
		"attach x --gdb --lldb":              {"", "envoyshim: --gdb and --lldb can't be used together", 2},
		"attach x -- y":                      {"", "envoyshim: arguments are for --gdb or --lldb", 2},
		"attach x --gdb --json":              {"", "envoyshim: --json is not for --gdb and --lldb, which have the terminal", 2},
		"attach x --port 1":                  {"", "envoyshim: --port is for --via port-forward", 2},
		"attach x --wait --via port-forward": {"", "envoyshim: --wait and --pid need --via exec: a port cannot be asked for them", 2},
		"wait x":                             {"", "envoyshim: missing flags: --for=STATE", 2},
		"status x -A":                        {"", "envoyshim: --all-namespaces is for all pods: leave out x", 2},
		"catch svc/x":                        {"", `envoyshim: "svc/x"` + names, 2},
		"catch x --comm a --exe b":           {"", "envoyshim: --comm and --exe can't be used together", 2},
		"catch x --count=-1":                 {"", "envoyshim: --skip and --count take no negative numbers", 2},
		"catch x --listen 0.0.0.0:1 --kubeconfig " + config:   {"", `envoyshim: listen on "0.0.0.0:1": debuggers are served on this machine only; name a loopback address, as 127.0.0.1:2159`, 1},
		"catch x --listen 127.0.0.1:0 --kubeconfig " + config: {"", "envoyshim: reach the cluster at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; is it up, and the right --context?", 1},
		"inject":                       {"", "envoyshim: missing flags: --filename=FILE,...", 2},
		"inject --node x -f y":         {"", "envoyshim: --node, --node-selector and --namespace are for --node-agent", 2},
		"inject --node-agent -f y":     {"", "envoyshim: --node-agent edits no manifest: only --image, --node, --node-selector and --namespace go with it", 2},
		"inject --node-agent --remove": {"", "envoyshim: --node-agent is removed by its own manifest: `kubectl envoyshim inject --node-agent | kubectl delete -f -`", 2},

		"attach x --node --gdb": {"", "envoyshim: --node gives a port: --gdb, --lldb, --print, --elf, --via, --wait and --pid are not for it", 2},
		"attach x --comm y":     {"", "envoyshim: --comm and --exe are for --node", 2},
		"doctor":                {"", "envoyshim: name either a pod or --node", 2},
		"doctor x --node y":     {"", "envoyshim: name either a pod or --node", 2},
		"find svc/x":            {"", `envoyshim: "svc/x"` + names, 2},
		"status -c x":           {"", "envoyshim: --container needs a pod", 2},

		"profile x":                             {"", "envoyshim: missing flags: --output=FILE", 2},
		"profile svc/x -o f":                    {"", `envoyshim: "svc/x"` + names, 2},
		"profile x -o f --type cpu":             {"", "envoyshim: --type is for --flamegraph", 2},
		"profile x -o f --kubeconfig " + config: {"", "envoyshim: reach the cluster at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; is it up, and the right --context?", 1},
		"profile convert":                       {"", `envoyshim: expected "<in>"`, 2},
		"profile convert f":                     {"", "envoyshim: nothing is to be written: name a file by --output, --flamegraph or both", 2},
		"profile convert f -o - --json":         {"", "envoyshim: standard output is for the profile or its picture: leave out --json", 2},
		"profile convert f -o g --type cpu":     {"", "envoyshim: --type is for --flamegraph", 2},
		"profile convert " + dir + "/none -o g": {"", "envoyshim: open " + dir + "/none: no such file or directory", 1},
		"profile convert " + dir + " -o g":      {"", "envoyshim: " + dir + " is a directory, as perf record --threads makes them: record without --threads", 1},
		"profile convert " + config + " -o g":   {"", "envoyshim: " + config + ` is neither a file of perf record nor a profile of pprof: it begins with "{\"apiVer"`, 1},
		"trace svc/x --at y":                    {"", `envoyshim: "svc/x"` + names, 2},
		"timeline x --with":                     {"", "envoyshim: --with needs a value", 2},
		"loglevel x --pid=y":                    {"", `envoyshim: --pid: expected a valid 64 bit int but got "y"`, 2},
		"telemetry x --kubeconfig " + config:    {"", "envoyshim: reach the cluster at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; is it up, and the right --context?; --until live waits", 1},

		"status --kubeconfig /dev/null":             {"", "envoyshim: no cluster is configured: set KUBECONFIG, or name a file by --kubeconfig", 1},
		"status x --kubeconfig " + dir + "/none":    {"", "envoyshim: read the kubeconfig: stat " + dir + "/none: no such file or directory", 1},
		"status --context y --kubeconfig " + config: {"", "envoyshim: context \"y\" does not exist; `kubectl config get-contexts` lists them", 1},
		"attach x --kubeconfig " + config:           {"", "envoyshim: reach the cluster at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; is it up, and the right --context?", 1},
		"wait x --for held --kubeconfig " + config:  {"", "envoyshim: reach the cluster at http://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused; is it up, and the right --context?", 1},
	} {
		if want.code == 2 {
			command, rest, _ := strings.Cut(args, " ")
			if command == "profile" { // it has commands of its own
				if command = "profile pod"; strings.HasPrefix(rest, "convert") {
					command = "profile convert"
				}
			}
			want.stderr += "; see kubectl envoyshim " + command + " --help"
		}
		if got := finish(t, append([]string{kubectlCLI(t)}, strings.Fields(args)...)...); got != want {
			t.Errorf("%s\n got %+v\nwant %+v", args, got, want)
		}
	}
	missing := finish(t, "env", "KUBECONFIG="+dir+"/a:"+dir+"/b", kubectlCLI(t), "status")
	if want := (result{"", "envoyshim: no cluster is configured: KUBECONFIG names no file that is there (" + dir + "/a, " + dir + "/b); set it, or name a file by --kubeconfig", 1}); missing != want {
		t.Errorf("%+v, not %+v", missing, want)
	}
}
