package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// An asker asks an admin port by package admin.
type asker struct {
	t    testing.TB
	p    *process
	in   *os.File
	read int
}

func askAdmin(t testing.TB, pid int, address string) *asker {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	cmd := exec.Command(fixture(t, "bin/test/adminport"), strconv.Itoa(pid), address)
	cmd.Stdin = r
	a := &asker{t: t, p: startCmd(t, nil, cmd), in: w}
	_ = r.Close()
	t.Cleanup(func() { _ = w.Close() })
	return a
}

type asked struct {
	Error    string         `json:"error"`
	Address  string         `json:"address"`
	State    admin.State    `json:"state"`
	Snapshot admin.Snapshot `json:"snapshot"`
}

// begin asks without waiting for the answer.
func (a *asker) begin(word string) {
	a.t.Helper()
	_, err := fmt.Fprintln(a.in, word)
	must(a.t, err)
}

func (a *asker) answer() asked {
	a.t.Helper()
	line, ok := a.p.out.at(a.read)
	if !ok {
		a.t.Fatalf("no answer; stderr:\n%s", a.p.err)
	}
	a.read++
	var got asked
	must(a.t, json.Unmarshal([]byte(line), &got))
	return got
}

func (a *asker) ask(word string) asked {
	a.t.Helper()
	a.begin(word)
	return a.answer()
}

// snapshotWhen asks for snapshots until one is as wanted.
func (a *asker) snapshotWhen(what string, ok func(admin.Snapshot) bool) admin.Snapshot {
	a.t.Helper()
	var s admin.Snapshot
	eventually(a.t, what, func() bool {
		s = a.ask("snapshot").Snapshot
		return ok(s)
	})
	return s
}

// startEnvoy starts a real Envoy, without a shim, with a file of configuration.
func startEnvoy(t testing.TB, version, name, config string, args ...string) *process {
	t.Helper()
	path := filepath.Join(sharedDir(t), name)
	must(t, os.WriteFile(path, []byte(config), 0o644))
	return start(t, nil, append([]string{cached(t, "envoy-"+version+"/envoy"), "-c", path, "--disable-hot-restart"}, args...)...)
}

// bootstrapYAML is bootstrap in another language.
func bootstrapYAML(port int) string {
	return fmt.Sprintf("admin:\n  address:\n    socket_address: {address: 127.0.0.1, port_value: %d}\n", port)
}

func TestAdminPortIsFound(t *testing.T) {
	port := func() (int, string) {
		n := freePort(t)
		return n, fmt.Sprintf("127.0.0.1:%d", n)
	}
	check := func(t *testing.T, p *process, want string) {
		t.Helper()
		a := askAdmin(t, p.pid(), "")
		if got := a.ask("wait"); got.Error != "" {
			t.Fatal(got.Error)
		}
		if got := a.ask("find"); got.Address != want && want != "" {
			t.Errorf("found %q (%s), not %q", got.Address, got.Error, want)
		}
		s := a.ask("snapshot").Snapshot
		if !s.Reachable || s.Error != "" || s.State != admin.Live || s.Version != "1.40.0" || s.HotRestart != "disabled" || !s.Workers || s.LogLevel != "info" {
			t.Errorf("snapshot: %+v", s)
		}
	}
	t.Run("JSON", func(t *testing.T) {
		n, want := port()
		check(t, startEnvoy(t, "1.40.0", "a.json", bootstrap(n)), want)
	})
	t.Run("YAML, so by its sockets", func(t *testing.T) {
		n, want := port()
		check(t, startEnvoy(t, "1.40.0", "a.yaml", bootstrapYAML(n)), want)
	})
	t.Run("YAML with other listeners", func(t *testing.T) {
		n, want := port()
		config := bootstrapYAML(n) + fmt.Sprintf("static_resources:\n  listeners:\n  - name: one\n    address: {socket_address: {address: 127.0.0.1, port_value: %d}}\n    filter_chains: [{filters: []}]\n", freePort(t))
		p := startEnvoy(t, "1.40.0", "a.yaml", config)
		check(t, p, want)
		s := askAdmin(t, p.pid(), "").ask("snapshot").Snapshot
		if len(s.Listeners) != 1 || s.Listeners[0].Name != "one" || !strings.HasPrefix(s.Listeners[0].Addresses[0], "127.0.0.1:") {
			t.Errorf("listeners: %+v", s.Listeners)
		}
	})
	t.Run("--config-yaml over -c", func(t *testing.T) {
		n, want := port()
		check(t, startEnvoy(t, "1.40.0", "a.json", bootstrap(1), "--config-yaml", bootstrap(n)), want)
	})
	t.Run("--admin-address-path", func(t *testing.T) {
		path := filepath.Join(sharedDir(t), "address")
		p := startEnvoy(t, "1.40.0", "a.json", bootstrap(0), "--admin-address-path", path)
		check(t, p, "")
		want, err := os.ReadFile(path)
		must(t, err)
		check(t, p, string(want))
	})
	t.Run("port chosen by the kernel", func(t *testing.T) { check(t, startEnvoy(t, "1.40.0", "a.json", bootstrap(0)), "") })
	t.Run("Unix socket", func(t *testing.T) {
		path := filepath.Join(sharedDir(t), "admin.sock")
		check(t, startEnvoy(t, "1.40.0", "a.json", fmt.Sprintf(`{"admin":{"address":{"pipe":{"path":%q}}}}`, path)), path)
	})
	t.Run("Unix socket, by YAML", func(t *testing.T) {
		path := filepath.Join(sharedDir(t), "admin.sock")
		check(t, startEnvoy(t, "1.40.0", "a.yaml", fmt.Sprintf("admin: {address: {pipe: {path: %q}}}", path)), path)
	})
	t.Run("abstract Unix socket", func(t *testing.T) {
		name := fmt.Sprintf("@envoyshim-test-%d", freePort(t))
		check(t, startEnvoy(t, "1.40.0", "a.yaml", fmt.Sprintf("admin: {address: {pipe: {path: %q}}}", name)), name)
	})
	t.Run("in other namespaces, by a relative path", func(t *testing.T) {
		dir := sharedDir(t)
		must(t, os.WriteFile(dir+"/a.json", []byte(bootstrap(15000)), 0o644))
		p := start(t, nil, "unshare", "--net", "--mount", "sh", "-c",
			`ip link set lo up && mount -t tmpfs tmpfs /mnt && cp "$1/a.json" /mnt && cd /mnt && exec "$2" -c a.json --disable-hot-restart`, "sh", dir, realEnvoy(t))
		eventually(t, "Envoy runs", func() bool { return strings.Contains(p.err.String(), "starting main dispatch loop") })
		check(t, p, "127.0.0.1:15000")
	})
}

func TestAdminPortIsNotFound(t *testing.T) {
	// Listens, and answers /server_info in some way.
	other := start(t, nil, "python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", "0")
	other.out.await(t, "Serving HTTP")
	got := askAdmin(t, other.pid(), "").ask("find")
	contains(t, got.Error, fmt.Sprintf("find the admin port of process %d: it listens on 127.0.0.1:", other.pid()), "none of these answers as Envoy's admin port does; --admin names it")

	silent := start(t, nil, "sleep", "1000")
	contains(t, askAdmin(t, silent.pid(), "").ask("find").Error, "it listens nowhere so far")

	_, port, _ := strings.Cut(other.out.String(), "port ")
	port, _, _ = strings.Cut(port, " ")
	contains(t, askAdmin(t, 0, "127.0.0.1:"+port).ask("ready").Error, "that is no Envoy's admin port: the server calls itself")
	contains(t, askAdmin(t, 0, fmt.Sprintf("127.0.0.1:%d", freePort(t))).ask("ready").Error, "nobody listens there; --admin names another address")
}

// Without the right to look into the process it is said what is missing.
func TestAdminPortOfAnotherUser(t *testing.T) {
	p := startEnvoy(t, "1.40.0", "a.yaml", bootstrapYAML(freePort(t)))
	p.err.await(t, "starting main dispatch loop")
	out, code := runAny(t, "setpriv", "--reuid", "1337", "--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all", "--",
		filepath.Join(filepath.Dir(install(t, "envoy")), "envoyshim"), "loglevel", "--pid", strconv.Itoa(p.pid()))
	if code != 1 {
		t.Errorf("exit status %d", code)
	}
	contains(t, out, "envoyshim: find the admin port", "it is another uid's, and CAP_SYS_PTRACE is missing", "--admin")
	if n := strings.Count(out, "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, out)
	}
}

// While the process is on hold nothing is asked; then it is waited for.
func TestWaitUntilLive(t *testing.T) {
	port := freePort(t)
	s := hold(t, "pause", realEnvoy(t), "--config-yaml", bootstrap(port), "--disable-hot-restart")
	a := askAdmin(t, s.pid(), "")
	contains(t, a.ask("ready").Error, "is on hold: it answers nothing while it stands still; `envoyshim resume --pid")
	a.begin("wait")
	run(t, cli(t), "resume", "--pid", strconv.Itoa(s.pid()))
	if got := a.answer(); got.Error != "" {
		t.Error(got.Error)
	}
	if got := a.ask("ready"); got.State != admin.Live {
		t.Errorf("%+v", got)
	}
	// The kernel accepts connections to a stopped process.
	must(t, unix.Kill(s.pid(), unix.SIGSTOP))
	contains(t, askAdmin(t, 0, fmt.Sprintf("127.0.0.1:%d", port)).ask("ready").Error, "no answer within 5s: does the process stand still")
	a.begin("wait")
	must(t, unix.Kill(s.pid(), unix.SIGKILL))
	contains(t, a.answer().Error, "process already finished")
}
