package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/nsutil"
)

// agent is a real pilot-agent as PID 1 of a pod: its own pid, mount and network
// namespaces, uid 1337, nothing granted, a read-only root.
type agent struct {
	*process
	hostPID int
}

// startAgent starts pilot-agent with a bootstrap that needs no istiod, and the shim
// where it looks for Envoy.
func startAgent(t testing.TB, mode, real string, env ...string) *agent {
	t.Helper()
	pilot := sharedDir(t) + "/pilot-agent"
	copyFile(t, cached(t, "pilot-agent/pilot-agent"), pilot)
	a := launchAgent(t, pilot, append([]string{"ENVOYSHIM_MODE=" + mode, "ENVOYSHIM_REAL=" + real}, env...)...)
	a.out.await(t, "Version")
	return a
}

// launchAgent starts pilot, which is pilot-agent or a shim in its place.
func launchAgent(t testing.TB, pilot string, env ...string) *agent {
	t.Helper()
	env, argv := agentCommand(t, pilot, install(t, "envoy"), env...)
	a := &agent{process: start(t, env, argv...)}
	a.awaitPod()
	return a
}

// agentCommand is what starts pilot in a pod, to start envoy.
func agentCommand(t testing.TB, pilot, envoy string, more ...string) (env, argv []string) {
	t.Helper()
	work := sharedDir(t)
	env = append([]string{
		"FILE_MOUNTED_CERTS=true", "POD_NAME=p", "POD_NAMESPACE=ns", "INSTANCE_IP=127.0.0.1", "CLOUD_PLATFORM=none",
		proxyConfig(t, envoy, fixture(t, "test/pilotagent/bootstrap.json"), "127.0.0.1:1"),
		"ENVOYSHIM_LOG_FORMAT=json", "GOMEMLIMIT=100MiB", "GOMAXPROCS=2",
	}, more...)
	argv = pod(true, true)
	for i, a := range argv { // what /etc/istio/proxy and the cwd are in a pod: writable memory
		argv[i] = strings.Replace(a, "mount -o remount", "mount -t tmpfs -o mode=1777 tmpfs "+work+" && cd "+work+" && mount -o remount", 1)
	}
	return env, append(argv, pilot, "proxy", "sidecar")
}

// proxyConfig is what the injector tells pilot-agent, of an istiod without TLS.
func proxyConfig(t testing.TB, envoy, template, istiod string, more ...string) string {
	t.Helper()
	bootstrap := sharedDir(t) + "/bootstrap.json"
	copyFile(t, template, bootstrap)
	return fmt.Sprintf(`PROXY_CONFIG={"binaryPath":%q,"proxyBootstrapTemplatePath":%q,"discoveryAddress":%q,"controlPlaneAuthPolicy":"NONE"%s}`,
		envoy, bootstrap, istiod, strings.Join(more, ""))
}

// istiod is where the agents that have one ask it, in a network of their own.
const istiod = "127.0.0.1:15010"

// startAgentOfMesh is startAgent with Istio's own bootstrap: Envoy asks the agent for its configuration, and that an xDS server in istiod's place.
func startAgentOfMesh(t testing.TB, mode string, env ...string) (*agent, *xdsServer) {
	t.Helper()
	a := startAgent(t, mode, realEnvoyForAll(t), append([]string{meshConfig(t)}, env...)...)
	return a, startXDS(t, a.inside(cached(t, "xds/xds"), istiod)...)
}

// meshConfig is their proxyConfig.
func meshConfig(t testing.TB, more ...string) string {
	t.Helper()
	return proxyConfig(t, install(t, "envoy"), cached(t, "pilot-agent/envoy_bootstrap.json"), istiod, more...)
}

// awaitPod waits for the pod's first process.
func (a *agent) awaitPod() {
	a.t.Helper()
	eventually(a.t, "the pod has a first process", func() bool { return len(children(a.t, a.pid())) > 0 })
	a.hostPID = children(a.t, a.pid())[0]
	endWithTest(a.t, a.hostPID)
}

// held waits for the hold and returns Envoy's pid outside.
func (a *agent) held() int {
	a.t.Helper()
	return outsidePID(a.t, a.hostPID, a.event("held").num("pid"))
}

// outsidePID is the pid here of the process that has pid nspid in the pid namespace of
// neighbour (proc_pid_status(5), NSpid).
func outsidePID(t testing.TB, neighbour, nspid int) int {
	t.Helper()
	namespace := func(pid int) string {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		return link
	}
	pids, err := nsutil.PIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if namespace(pid) != namespace(neighbour) {
			continue
		}
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, _ := strings.Cut(string(status), "\nNSpid:")
		line, _, _ := strings.Cut(after, "\n")
		if f := strings.Fields(line); len(f) > 0 && f[len(f)-1] == strconv.Itoa(nspid) {
			return pid
		}
	}
	t.Fatalf("no process %d beside %d", nspid, neighbour)
	return 0
}

// inside runs a command in the pod's network, or with more, in all of the pod.
func (a *agent) inside(argv ...string) []string {
	return append([]string{"nsenter", "-t", strconv.Itoa(a.hostPID), "--net"}, argv...)
}

func (a *agent) awaitLive() {
	a.t.Helper()
	eventually(a.t, "LIVE on the admin port", func() bool {
		out, code := runAny(a.t, a.inside("curl", "-s", "127.0.0.1:15000/ready")...)
		return code == 0 && strings.Contains(out, "LIVE")
	})
}

// endByTERM ends the agent as the kubelet does, and expects its usual words.
func (a *agent) endByTERM(envoy int) {
	a.t.Helper()
	if err := unix.Kill(a.hostPID, unix.SIGTERM); err != nil {
		a.t.Fatal(err)
	}
	if st := a.status(); !st.Exited() || st.ExitStatus() != 0 {
		a.t.Fatalf("the agent ended with %#x", st)
	}
	a.err.end(a.t)
	contains(a.t, a.out.String()+a.err.String(), "Agent draining Proxy for termination", "Envoy aborted normally", "Agent has successfully terminated")
	eventually(a.t, "Envoy has ended", func() bool { return !alive(envoy) })
}

func TestUnderPilotAgentWithTheRealEnvoy(t *testing.T) {
	for _, c := range []struct{ client, mode string }{{"gdb", "gdb"}, {"lldb", "lldb"}, {"gdb", "debug"}, {"lldb", "debug"}} {
		t.Run(c.client+"/"+c.mode, func(t *testing.T) {
			envoy := realEnvoyForAll(t)
			a := startAgent(t, c.mode, envoy)
			pid := a.held()
			unmoved(t, pid, newLines())
			var out string
			if c.client == "gdb" {
				out, _ = runAny(t, a.inside("gdb", "-nx", "-q", "-batch", "-ex", "set pagination off", "-ex", "set width 0", "-ex", "set debuginfod enabled off", "-ex", "set sysroot /",
					"-ex", "target remote 127.0.0.1:2159", "-ex", "x/i $pc", "-ex", "set breakpoint pending on",
					"-ex", "rbreak ^epoll_create", "-ex", "break epoll_create1", "-ex", "continue", "-ex", "backtrace 4",
					"-ex", "delete", "-ex", "break bind", "-ex", "break listen", "-ex", "continue", "-ex", "backtrace 4",
					"-ex", "delete", "-ex", "break listen", "-ex", "continue", "-ex", "backtrace 4",
					"-ex", "detach", envoy)...)
				contains(t, out, "<_start>:", "epoll_create", "#1", "bind", "#1", "listen", "#1", "detached")
			} else {
				out, _ = runAny(t, a.inside("lldb-19", "-x", "-b",
					"-o", "gdb-remote 127.0.0.1:2159", "-o", "register read pc",
					"-o", "breakpoint set --shlib libc.so.6 --func-regex epoll_create.*", "-o", "continue", "-o", "bt 4",
					"-o", "breakpoint delete -f", "-o", "breakpoint set --shlib libc.so.6 --name bind", "-o", "continue", "-o", "bt 4",
					"-o", "breakpoint delete -f", "-o", "breakpoint set --shlib libc.so.6 --name listen", "-o", "continue", "-o", "bt 4",
					"-o", "process detach", envoy)...)
				contains(t, out, "`_start", "libc.so.6`epoll_create", "frame #1", "libc.so.6`bind", "frame #1", "libc.so.6`listen", "frame #1", "detached")
			}
			lacks(t, out, "SIGCONT", "SIGTRAP", "restarted")
			a.awaitLive()
			a.endByTERM(pid)
		})
	}
}

// realEnvoyForAll is a copy of the real Envoy that uid 1337 may read.
func realEnvoyForAll(t testing.TB) string { return asEnvoy(t, realEnvoy(t)) }

func TestUnderPilotAgentWithTheStandin(t *testing.T) {
	for mode := range clients {
		t.Run(mode, func(t *testing.T) {
			envoy := asEnvoy(t, standin(t))
			a := startAgent(t, mode, envoy)
			pid := a.held()
			unmoved(t, pid, newLines())
			var out string
			if mode == "gdb" {
				out, _ = runAny(t, a.inside("gdb", "-nx", "-q", "-batch", "-ex", "set pagination off", "-ex", "set debuginfod enabled off", "-ex", "set sysroot /",
					"-ex", "target remote 127.0.0.1:2159", "-ex", "break Envoy::MainCommon::main", "-ex", "continue", "-ex", "print argv[1]", "-ex", "backtrace", "-ex", "detach", envoy)...)
			} else {
				out, _ = runAny(t, a.inside("lldb-19", "-x", "-b",
					"-o", "gdb-remote 127.0.0.1:2159", "-o", "b Envoy::MainCommon::main", "-o", "continue", "-o", "print argv[1]", "-o", "bt", "-o", "process detach", envoy)...)
			}
			contains(t, out, "Envoy::MainCommon::main", `"-c"`, "main", "detached")
			a.awaitLive()
			a.endByTERM(pid)
		})
	}
}

// The agent learns what became of Envoy from its status, so it must be Envoy's own.
func TestPilotAgentSeesEnvoysOwnStatus(t *testing.T) {
	envoy := asEnvoy(t, probe(t)) // knows no flag of Envoy: waits until it is killed
	a := startAgent(t, "pause", envoy)
	pid := a.held()
	unmoved(t, pid, newLines())
	_ = unix.Kill(pid, unix.SIGCONT)
	a.out.await(t, "main")
	_ = unix.Kill(pid, unix.SIGKILL)
	a.status()
	contains(t, a.out.String()+a.err.String(), "Envoy exited with error: signal: killed")

	broken := asEnvoy(t, standin(t))
	a = startAgent(t, "pause", broken, `ENVOYSHIM_ENVOY_ARGS=--no-such-option`)
	_ = unix.Kill(a.held(), unix.SIGCONT)
	a.status()
	contains(t, a.out.String()+a.err.String(), "Envoy exited with error: exit status 1")
}

// An agent that is ended while Envoy is held takes its usual five seconds and leaves
// nothing behind.
func TestPilotAgentEndsWhileEnvoyIsHeld(t *testing.T) {
	a := startAgent(t, "gdb", realEnvoyForAll(t))
	a.endByTERM(a.held())
}

// Switched off, the agent's Envoy starts as if there were no shim.
func TestUnderPilotAgentSwitchedOff(t *testing.T) {
	a := startAgent(t, "off", realEnvoyForAll(t))
	a.awaitLive()
	out := run(t, "pgrep", "-x", "envoy", "--ns", strconv.Itoa(a.hostPID), "--nslist", "pid")
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatalf("not one Envoy: %q", out)
	}
	lacks(t, a.err.String(), "envoyshim")
	a.endByTERM(pid)
}
