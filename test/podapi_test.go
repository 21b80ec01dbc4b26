package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/klog/v2"
	utilexec "k8s.io/utils/exec"
)

// podAPI is an API server that knows one pod, web-0, which is a real pilot-agent in its namespaces. What it says of the pod is made up; exec and
// port-forward are served by the code that containerd serves them by, by SPDY only.
type podAPI struct {
	t      testing.TB
	agent  *agent
	env    []string // of the container
	config string   // a kubeconfig

	mu        sync.Mutex
	forbidden string   // the subresource that the user may not use
	used      []string // subresources
}

func init() { klog.SetLogger(logr.Discard()) } // the streams' servers log each refused connection

func startPodAPI(t testing.TB, a *agent) *podAPI {
	t.Helper()
	p := &podAPI{t: t, agent: a, env: a.cmd.Env}
	server := httptest.NewServer(p)
	t.Cleanup(server.CloseClientConnections)
	p.config = filepath.Join(sharedDir(t), "config")
	must(t, os.WriteFile(p.config, []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","current-context":"test","clusters":[{"name":"test","cluster":{"server":%q}}],
		"users":[{"name":"test","user":{}}],"contexts":[{"name":"test","context":{"cluster":"test","user":"test","namespace":"demo"}}]}`, server.URL)), 0o600))
	return p
}

// plugin starts a command of kubectl-envoyshim that asks this API server.
func (p *podAPI) plugin(args ...string) *process {
	p.t.Helper()
	return start(p.t, []string{"KUBECONFIG=" + p.config}, append([]string{kubectlCLI(p.t)}, args...)...)
}

func (p *podAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const path = "/api/v1/namespaces/demo/pods/web-0"
	what, ok := strings.CutPrefix(r.URL.Path, path)
	status := func(code int, reason, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": message})
	}
	p.mu.Lock()
	p.used = append(p.used, strings.TrimPrefix(what, "/"))
	forbidden := p.forbidden
	p.mu.Unlock()
	switch {
	case !ok:
		status(http.StatusNotFound, "NotFound", r.URL.Path+" not found")
	case what == "":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.pod())
	case what == "/"+forbidden:
		status(http.StatusForbidden, "Forbidden", fmt.Sprintf(`pods "web-0" is forbidden: User "test" cannot create resource "pods/%s" in API group "" in the namespace "demo"`, forbidden))
	case strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		http.Error(w, "no such protocol here", http.StatusForbidden)
	case what == "/exec":
		options, err := remotecommand.NewOptions(withNames(r))
		if err != nil {
			status(http.StatusBadRequest, "BadRequest", err.Error())
			return
		}
		remotecommand.ServeExec(w, r, p, "web-0", "1", "istio-proxy", r.URL.Query()["command"], options, time.Hour, patience, remotecommand.SupportedStreamingProtocols)
	case what == "/portforward":
		portforward.ServePortForward(w, r, p, "web-0", "1", &portforward.V4Options{}, time.Hour, patience, portforward.SupportedProtocols)
	default:
		status(http.StatusNotFound, "NotFound", r.URL.Path+" not found")
	}
}

// withNames has the streams by the names that the kubelet asks a runtime by, in place of the API server's.
func withNames(r *http.Request) *http.Request {
	q := r.URL.Query()
	for api, runtime := range map[string]string{"stdin": remotecommand.ExecStdinParam, "stdout": remotecommand.ExecStdoutParam, "stderr": remotecommand.ExecStderrParam} {
		if q.Get(api) == "true" {
			q.Set(runtime, "1")
		}
	}
	clone := r.Clone(r.Context())
	clone.URL.RawQuery = q.Encode()
	return clone
}

// pod is held at its start, and so Pending.
func (p *podAPI) pod() any {
	type object = map[string]any
	var env []object
	for _, e := range p.env {
		if name, value, _ := strings.Cut(e, "="); strings.HasPrefix(name, "ENVOYSHIM_") || name == "PROXY_CONFIG" {
			env = append(env, object{"name": name, "value": value})
		}
	}
	return object{"kind": "Pod", "apiVersion": "v1", "metadata": object{"name": "web-0", "namespace": "demo", "uid": "1"},
		"spec":   object{"nodeName": "node", "containers": []object{{"name": "istio-proxy", "image": "i", "env": env}}},
		"status": object{"phase": "Pending", "containerStatuses": []object{{"name": "istio-proxy", "containerID": "containerd://1", "state": object{"running": object{}}}}}}
}

// ExecInContainer runs a command in the agent's namespaces, as its user.
func (p *podAPI) ExecInContainer(ctx context.Context, _, _, _ string, argv []string, in io.Reader, out, errw io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(p.agent.hostPID), "--mount", "--pid", "--net", "setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups",
		"--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"}, argv...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, errw
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		if in != nil {
			_, _ = io.Copy(stdin, in)
		}
		_ = stdin.Close()
	}()
	err = cmd.Wait()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		return utilexec.CodeExitError{Err: err, Code: ended.ExitCode()}
	}
	return err
}

// PortForward connects in the agent's network, to its loopback interface.
func (p *podAPI) PortForward(_ context.Context, _, _ string, port int32, stream io.ReadWriteCloser) error {
	conn, err := dialIn(p.agent.hostPID, port)
	if err != nil {
		return err
	}
	defer conn.Close()
	done := make(chan struct{}, 2)
	go func() {
		_, _ = io.Copy(conn, stream)
		_ = conn.(*net.TCPConn).CloseWrite()
		done <- struct{}{}
	}()
	go func() {
		_, _ = io.Copy(stream, conn)
		done <- struct{}{}
	}()
	<-done
	return nil
}

// dialIn dials in the network namespace of a process. The thread is not used again.
func dialIn(pid int, port int32) (conn net.Conn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var ns *os.File
		if ns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
			return
		}
		defer ns.Close()
		if err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err == nil {
			conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		}
	}()
	<-done
	return conn, err
}

// A pod that is held and Pending: its metrics are waited for, by the port-forward API, and where that is forbidden by exec.
func TestTelemetryOfAPod(t *testing.T) {
	a := startAgent(t, "debug", realEnvoyForAll(t))
	api := startPodAPI(t, a)
	a.held()
	r := api.plugin("telemetry", "web-0").result()
	if r.code != 1 || r.stderr != "envoyshim: nothing listens on port 15000 of pod web-0: Envoy is held, has not come so far, or has another port (--port); --until live waits" {
		t.Errorf("%+v", r)
	}
	contains(t, api.plugin("telemetry", "web-0", "--via", "exec").result().stderr, "envoyshim: curl in container istio-proxy of pod web-0: curl: (7) Failed to connect to 127.0.0.1 port 15000", "--until live waits")
	w := api.plugin("telemetry", "web-0", "--watch", "--until", "live", "--interval", "20ms")
	w.out.await(t, "waiting: nothing listens on port 15000 of pod web-0")
	if r := api.plugin("resume", "web-0").result(); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if r := w.result(); r.code != 0 {
		t.Errorf("%+v", r)
	} else {
		contains(t, r.stdout, "Envoy answers", "state: LIVE", "METRIC", "FIRST", "LAST")
	}
	contains(t, api.plugin("telemetry", "web-0", "--port", "15090").result().stdout, "envoy_listener_manager_workers_started", "1")
	contains(t, api.plugin("telemetry", "web-0", "--port", "15020").result().stdout, "envoy_listener_manager_workers_started", "1")

	api.mu.Lock()
	api.forbidden = "portforward"
	api.mu.Unlock()
	contains(t, api.plugin("telemetry", "web-0").result().stdout, "envoy_listener_manager_workers_started", "1")
	api.mu.Lock()
	if !slices.Contains(api.used, "exec") {
		t.Errorf("used %v", api.used)
	}
	api.mu.Unlock()
	r = api.plugin("telemetry", "web-0", "--via", "port-forward").result()
	contains(t, r.stderr, `cannot create resource "pods/portforward"`, "ask for a Role that allows it")
}

// A command of a pod: its words, its exit status.
func TestCommandsOfAPodSayWhatIsSaidThere(t *testing.T) {
	a := startAgent(t, "debug", realEnvoyForAll(t))
	api := startPodAPI(t, a)
	a.held()
	r := api.plugin("loglevel", "web-0", "--no-such-flag").result()
	if r.code != 2 || r.stdout != "" || strings.Count(r.stderr, "envoyshim: ") != 1 {
		t.Errorf("%+v", r)
	}
	r = api.plugin("trace", "web-0", "--pid", "12345").result()
	refused(t, r, "process 12345 is not under envoyshim in container istio-proxy of pod web-0")
}

// What a user elsewhere has of a command: its input, its exit status, and Ctrl-C.
func TestRemote(t *testing.T) {
	remote := func(input string, close bool, args ...string) (result, *exec.Cmd) {
		cmd := exec.Command(cli(t), append([]string{"remote"}, args...)...)
		in, err := cmd.StdinPipe()
		must(t, err)
		var out, errw strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errw
		must(t, cmd.Start())
		_, _ = io.WriteString(in, input)
		if close {
			must(t, in.Close())
		}
		_ = cmd.Wait()
		return result{out.String(), errw.String(), cmd.ProcessState.ExitCode()}, cmd
	}
	if r, _ := remote("hello and more", false, "--input=5", "--", "run", "--mode", "off", "--", "/bin/cat"); r != (result{"hello", "", 0}) {
		t.Errorf("%+v", r)
	}
	if r, _ := remote("", false, "--", "run", "--mode", "off", "--", "/bin/sh", "-c", "exit 7"); r.code != 7 {
		t.Errorf("%+v", r)
	}
	if r, _ := remote("", false, "--", "run", "--mode", "off", "--", "/bin/sh", "-c", "kill -TERM $$"); r.code != 143 {
		t.Errorf("%+v", r)
	}
	// One that says goodbye at Ctrl-C.
	cmd := exec.Command(cli(t), "remote", "--", "run", "--mode", "off", "--", "/bin/sh", "-c", `trap 'echo bye; exit 3' INT; echo up; while :; do sleep 0.1; done`)
	in, err := cmd.StdinPipe()
	must(t, err)
	out := newLines()
	cmd.Stdout = pipeTo(t, out)
	must(t, cmd.Start())
	_ = cmd.Stdout.(*os.File).Close()
	out.await(t, "up")
	must(t, in.Close())
	_ = cmd.Wait()
	out.end(t)
	if out.String() != "up\nbye" || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("%q, %v", out, cmd.ProcessState)
	}
}
