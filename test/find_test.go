package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// findAs runs `envoyshim find`, by way of another command if one is given, and returns its two streams and its exit status.
func findAs(t testing.TB, as []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	argv := append(append(as, cli(t), "find"), args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	stuck := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	_ = cmd.Run()
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// find returns what is found.
func find(t testing.TB, args ...string) []event {
	t.Helper()
	out, errs, status := findAs(t, nil, append(args, "--json")...)
	var all []event
	if err := json.Unmarshal([]byte(out), &all); err != nil || status != 0 || errs != "" || len(all) == 0 {
		t.Fatalf("find %q: exit status %d, %v\n%s%s", args, status, err, out, errs)
	}
	return all
}

// findOne returns the one process that is to be found.
func findOne(t testing.TB, args ...string) event {
	t.Helper()
	all := find(t, args...)
	if len(all) != 1 {
		t.Fatalf("find %q: %d processes: %v", args, len(all), all)
	}
	return all[0]
}

// findNone returns the one line that says why nothing was found.
func findNone(t testing.TB, as []string, args ...string) string {
	t.Helper()
	out, errs, status := findAs(t, as, args...)
	if out != "" || status != 1 || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "envoyshim: ") {
		t.Fatalf("%q find %q: exit status %d\n%s%s", as, args, status, out, errs)
	}
	return errs
}

// unique is a name that no other process of this machine has, of at most 15 bytes.
func unique(prefix string) string { return fmt.Sprintf("%.8s-%06d", prefix, rand.IntN(1e6)) }

// ownSleep is a program that waits, by a name of its own.
func ownSleep(t testing.TB, called string) string {
	t.Helper()
	path := filepath.Join(sharedDir(t), called)
	copyFile(t, "/bin/sleep", path)
	return path
}

// barePod starts a program as the first process of new namespaces with a host name, and returns its pid.
func barePod(t testing.TB, host string, argv ...string) int {
	t.Helper()
	// The kill comes from unshare's own end: the first process of a pid namespace takes all others with it.
	p := start(t, nil, append([]string{"unshare", "--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `hostname "$0" && exec "$@"`, host}, argv...)...)
	return onlyChild(t, p.pid(), filepath.Base(argv[0]))
}

// onlyChild waits until a process has a child of that command name.
func onlyChild(t testing.TB, parent int, comm string) (pid int) {
	t.Helper()
	eventually(t, "a child "+comm+" of process "+strconv.Itoa(parent), func() bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", parent, parent))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0 && procfs.Comm(pid) == comm[:min(len(comm), 15)]
	})
	return pid
}

func TestFindInNamespacesOfItsOwn(t *testing.T) {
	pod, comm := unique("web"), unique("proxy")
	exe := ownSleep(t, comm)
	began := time.Now()
	pid := barePod(t, pod, exe, "1000")
	started := time.Now()
	info, err := elfinfo.Read(exe)
	must(t, err)

	p := findOne(t, "--pod", pod, "--comm", comm)
	if p.num("pid") != pid || p.num("ns_pid") != 1 || p.str("comm") != comm || p.str("exe") != exe || p.str("state") != "S" || p.str("pod") != pod || p.str("build_id") != info.BuildID || info.BuildID == "" {
		t.Errorf("%v", p)
	}
	if st, err := procfs.ReadStat(pid); err != nil || p.num("ppid") != st.PPID {
		t.Errorf("ppid %d, %v", p.num("ppid"), err)
	}
	if at, err := time.Parse(time.RFC3339Nano, p.str("started")); err != nil || at.Before(began.Add(-time.Second)) || at.After(started.Add(time.Second)) {
		t.Errorf("started %v, %v; it was between %v and %v", at, err, began, started)
	}
	kinds, err := os.ReadDir(fmt.Sprintf("/proc/%d/ns", pid))
	must(t, err)
	told := p["namespaces"].(map[string]any)
	for _, kind := range kinds {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind.Name()))
		must(t, err)
		if n, _ := told[kind.Name()].(float64); !strings.HasSuffix(link, fmt.Sprintf(":[%.0f]", n)) {
			t.Errorf("namespace %s is %.0f, not %s", kind.Name(), n, link)
		}
	}
	if len(told) != len(kinds) {
		t.Errorf("%d namespaces, not %d", len(told), len(kinds))
	}

	for _, args := range [][]string{{"--comm", comm}, {"--exe", exe}, {"--pid", strconv.Itoa(pid)}, {"--pid", strconv.Itoa(pid), "--pod", pod, "--comm", comm, "--exe", exe}} {
		if again := findOne(t, args...); fmt.Sprint(again["pid"], again["namespaces"]) != fmt.Sprint(p["pid"], p["namespaces"]) {
			t.Errorf("by %v: %v", args, again)
		}
	}
	// unshare itself has the host name, too.
	pids := map[string]int{}
	for _, p := range find(t, "--pod", pod) {
		pids[p.str("comm")] = p.num("pid")
	}
	if len(pids) != 2 || pids["unshare"] == 0 || pids[comm] != pid {
		t.Errorf("%v", pids)
	}
	out, _, _ := findAs(t, nil, "--comm", comm)
	contains(t, out, "PID", "NSPID", "STATE", "COMM", "POD", "CONTAINER", "EXE", "BUILD-ID\n", strconv.Itoa(pid), " 1 ", " S ", comm, pod, " - ", exe, info.BuildID+"\n")

	// Nothing found: what comes nearest.
	contains(t, findNone(t, nil, "--pod", pod, "--comm", "no-such"), "no process is comm no-such, pod "+pod+"; nearest: process ", "pod "+pod, ") and others\n")
	contains(t, findNone(t, nil, "--pod", "no-such", "--comm", comm), "no process is comm "+comm+", pod no-such; nearest: process "+strconv.Itoa(pid)+" (comm "+comm+", exe "+exe+", pod "+pod)
	contains(t, findNone(t, nil, "--pod", pod[:len(pod)-2]), "; nearest: process ", "pod "+pod)
	mistyped := pod[:len(pod)-3] + "_" + pod[len(pod)-2:]
	contains(t, findNone(t, nil, "--pod", mistyped), "no process is pod "+mistyped+"; nearest: process ", "pod "+pod)
	contains(t, findNone(t, nil, "--pod", mistyped, "--comm", comm), "; nearest: process "+strconv.Itoa(pid)+" (comm "+comm, "pod "+pod)
	contains(t, findNone(t, nil, "--exe", "/elsewhere/"+comm), "; nearest: process "+strconv.Itoa(pid), "exe "+exe)
	contains(t, findNone(t, nil, "--pid", strconv.Itoa(pid), "--comm", "other"), "no process is pid "+strconv.Itoa(pid)+", comm other; nearest: process "+strconv.Itoa(pid)+" (comm "+comm)

	// A searcher of that UTS namespace finds it by the same name, and says no pod: that is its own.
	inside := []string{"nsenter", "-t", strconv.Itoa(pid), "--uts"}
	out, errs, status := findAs(t, inside, "--pod", pod, "--comm", comm, "--json")
	var own []event
	if err := json.Unmarshal([]byte(out), &own); err != nil || status != 0 || len(own) != 1 || own[0].num("pid") != pid || own[0]["pod"] != nil {
		t.Errorf("exit status %d, %v\n%s%s", status, err, out, errs)
	}
	// The node's own host name is no pod's, but it can be asked for.
	host, err := os.Hostname()
	must(t, err)
	if self := findOne(t, "--pod", host, "--pid", strconv.Itoa(os.Getpid())); self.num("pid") != os.Getpid() || self["pod"] != nil {
		t.Errorf("%v", self)
	}
}

// The kubelet makes host names of pods' names.
func TestFindPodByHostNameOfTheKubelet(t *testing.T) {
	comm := unique("kubelet")
	exe := ownSleep(t, comm)
	short := unique("web")
	long := short + "-" + strings.Repeat("x", 60)
	for pod, host := range map[string]string{
		short: short + ".nginx.demo.svc.cluster.local",
		long:  long[:63],
	} {
		pid := barePod(t, host, exe, "1000")
		if p := findOne(t, "--pod", pod, "--comm", comm); p.num("pid") != pid || p.str("pod") != host {
			t.Errorf("pod %s: %v", pod, p)
		}
	}
}

func TestFindInDocker(t *testing.T) {
	needDocker(t)
	comm, pod := unique("proxy"), unique("fortio")
	inside := "/usr/local/bin/" + comm
	image := "envoyshim-test-find:" + comm
	tag, err := name.NewTag(image)
	must(t, err)
	file := filepath.Join(t.TempDir(), "image.tar")
	must(t, tarball.WriteToFile(file, tag, makeImage(t, v1.Config{}, makeLayer(t, entryOf{name: "usr/"}, entryOf{name: "usr/local/"}, entryOf{name: "usr/local/bin/"},
		entryOf{name: inside[1:], from: fixture(t, "bin/test/standin-static")}))))
	loadImage(t, file, image)
	config := `{"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":9901}}}}`
	ids := map[string]string{}
	for _, host := range []string{pod + "-0", pod + "-1"} {
		id := strings.TrimSpace(docker(t, "run", "--detach", "--network", "none", "--name", "envoyshim-test-"+host, "--hostname", host, image, inside, "--config-yaml", config))
		t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", id).Run() })
		ids[host] = id
	}
	for host, id := range ids {
		pid, err := strconv.Atoi(strings.TrimSpace(docker(t, "inspect", "--format", "{{.State.Pid}}", id)))
		must(t, err)
		for _, args := range [][]string{{"--pod", host}, {"--container", id}, {"--container", id[:12]}, {"--container", "docker://" + id}, {"--container", id[:20], "--pod", host, "--comm", comm, "--exe", inside}, {"--exe", inside, "--pod", host}} {
			if p := findOne(t, args...); p.num("pid") != pid || p.num("ns_pid") != 1 || p.str("pod") != host || p.str("container") != id || p.str("exe") != inside || !strings.Contains(p.str("cgroup"), id) || p["pod_uid"] != nil {
				t.Errorf("by %v: %v", args, p)
			}
		}
		out, _, _ := findAs(t, nil, "--container", id)
		contains(t, out, strconv.Itoa(pid), " "+id[:12]+" ", inside)
	}
	if all := find(t, "--exe", inside); len(all) != 2 {
		t.Errorf("%v", all)
	}
	contains(t, findNone(t, nil, "--container", ids[pod+"-0"][:12], "--pod", pod+"-1"), "nearest: process ", "pod "+pod+"-")
	// From a container, as a node agent is one. In a cgroup namespace of its own it sees other paths.
	agent := func(flags ...string) []string {
		return append(append([]string{"docker", "run", "--rm", "--network", "none", "-v", cli(t) + ":" + cli(t) + ":ro", "--cap-drop", "ALL", "--cgroupns", "private"}, flags...), image)
	}
	id := ids[pod+"-1"]
	for _, args := range [][]string{{"--pod", pod + "-1"}, {"--container", id}, {"--exe", inside, "--pod", pod + "-1"}} {
		out, errs, status := findAs(t, agent("--pid", "host", "--cap-add", "SYS_ADMIN", "--cap-add", "SYS_PTRACE"), append(args, "--json")...)
		var found []event
		if err := json.Unmarshal([]byte(out), &found); err != nil || status != 0 || len(found) != 1 || found[0].str("container") != id || found[0].str("pod") != pod+"-1" || !strings.HasPrefix(found[0].str("cgroup"), "/..") {
			t.Errorf("by %v: exit status %d\n%s%s", args, status, out, errs)
		}
	}
	contains(t, findNone(t, agent("--pid", "host", "--cap-add", "SYS_PTRACE"), "--pod", pod+"-1"), "(that needs CAP_SYS_ADMIN)\n")
	contains(t, findNone(t, agent("--cap-add", "SYS_ADMIN"), "--pod", pod+"-1"), "; only this pid namespace is seen, which is not the node's (hostPID: true, or docker run --pid host)\n")
	// From within the container, where /proc is its own.
	must(t, exec.Command("docker", "cp", cli(t), ids[pod+"-0"]+":/envoyshim").Run())
	out := docker(t, "exec", ids[pod+"-0"], "/envoyshim", "find", "--pod", pod+"-0")
	contains(t, out, "\n1 ", comm, inside)
}

// Groups as runtimes make them, in the kernel's own hierarchy.
func TestFindByCgroup(t *testing.T) {
	comm := unique("grouped")
	exe := ownSleep(t, comm)
	hex := func(n int) string {
		b := make([]byte, n/2)
		for i := range b {
			b[i] = byte(rand.IntN(256))
		}
		return fmt.Sprintf("%x", b)
	}
	digits := hex(32)
	uid := strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
	first, second, other := hex(64), "", hex(64)
	second = first[:6] + hex(64)[6:]
	slice := "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	node := hex(64)
	for _, group := range []string{slice + "/cri-containerd-" + first + ".scope", slice + "/cri-containerd-" + second + ".scope", "docker/" + node, "docker/" + node + "/docker/" + other} {
		p := start(t, nil, exe, "1000")
		intoCgroup(t, p.pid(), group)
		if q := findOne(t, "--pid", strconv.Itoa(p.pid())); !strings.HasSuffix(q.str("cgroup"), group) {
			t.Errorf("in %s: %v", group, q)
		}
	}
	of := func(id string) event { return findOne(t, "--container", "containerd://"+id) }
	for _, id := range []string{first, second} {
		if p := of(id); p.str("pod_uid") != uid || p.str("container") != id || p.str("comm") != comm {
			t.Errorf("%v", p)
		}
	}
	// A container in a container is part of both.
	within := map[string]bool{}
	for _, p := range find(t, "--container", node[:10]) {
		within[p.str("container")] = true
	}
	if len(within) != 2 || !within[node] || !within[other] {
		t.Errorf("%v", within)
	}
	if p := of(other); p["pod_uid"] != nil || p.str("container") != other {
		t.Errorf("%v", p)
	}
	for _, written := range []string{uid, strings.ToUpper(uid), digits, strings.ReplaceAll(uid, "-", "_")} {
		if all := find(t, "--pod-uid", written); len(all) != 2 {
			t.Errorf("of uid %s: %v", written, all)
		}
	}
	ambiguous := findNone(t, nil, "--container", first[:6])
	contains(t, ambiguous, "container "+first[:6]+" is ambiguous: ", "; give more digits")
	contains(t, ambiguous, first[:12])
	contains(t, ambiguous, second[:12])
	contains(t, findNone(t, nil, "--pod-uid", uid, "--comm", "envoy"), "no process is comm envoy, pod uid "+uid+"; nearest: process ", "comm "+comm, "pod uid "+uid)
	contains(t, findNone(t, nil, "--container", other[:8], "--pod-uid", uid), "no process is pod uid "+uid+", container "+other[:8]+"; nearest: process ", "container "+other[:12])
}

// intoCgroup moves a process into a new group of the unified hierarchy, below one of the test's own.
func intoCgroup(t testing.TB, pid int, group string) {
	t.Helper()
	root := strings.Fields(run(t, "findmnt", "--noheadings", "--types", "cgroup2", "--output", "TARGET"))[0]
	top := filepath.Join(root, unique("envoyshim"))
	path := filepath.Join(top, group)
	must(t, os.MkdirAll(path, 0o755))
	t.Cleanup(func() {
		// The processes end first: Cleanup goes backwards, and they were started before. They move out here.
		_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		for dir := path; len(dir) >= len(top); dir = filepath.Dir(dir) {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
		}
	})
	must(t, os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0))
}

// What has the real program's name is told apart by what it executes.
func TestFindTellsTheShimFromTheRealProgram(t *testing.T) {
	comm := unique("envoy")
	real := ownSleep(t, comm)
	wrapper := filepath.Join(sharedDir(t), comm)
	must(t, syscall.Mkfifo(wrapper+".wait", 0o600))
	must(t, os.WriteFile(wrapper, []byte("#!/bin/bash\nread -r <>"+wrapper+".wait\n"), 0o755))
	script := start(t, nil, wrapper)
	program := start(t, nil, real, "1000")
	held := hold(t, "pause", real, "1000")
	eventually(t, "all run", func() bool {
		out, _, _ := findAs(t, nil, "--comm", comm)
		return strings.Count(out, "\n") == 4
	})
	bash, err := filepath.EvalSymlinks("/bin/bash")
	must(t, err)
	if p := findOne(t, "--comm", comm, "--exe", bash); p.num("pid") != script.pid() {
		t.Errorf("%v", p)
	}
	all := find(t, "--comm", comm, "--exe", real)
	states := map[int]string{}
	for _, p := range all {
		states[p.num("pid")] = p.str("state")
	}
	if len(all) != 2 || states[program.pid()] != "S" || states[held.pid()] != "T" {
		t.Errorf("%v", all)
	}
	contains(t, findNone(t, nil, "--comm", comm, "--exe", cli(t)), "nearest: process ", "comm "+comm)
}

func TestFindDeletedFile(t *testing.T) {
	comm := unique("gone")
	exe := ownSleep(t, comm)
	p := start(t, nil, exe, "1000")
	must(t, os.Remove(exe))
	if found := findOne(t, "--exe", exe); found.num("pid") != p.pid() || found.str("exe") != exe || found.str("build_id") == "" {
		t.Errorf("%v", found)
	}
}

func TestFindTellsTheTracer(t *testing.T) {
	traced := start(t, nil, ownSleep(t, unique("traced")), "1000")
	debugger := start(t, nil, "gdb", "-nx", "-q", "-ex", "set debuginfod enabled off", "-p", strconv.Itoa(traced.pid()), "-ex", "echo attached\\n", "-ex", "shell sleep 1000")
	eventually(t, "gdb is attached", func() bool { return tracer(t, traced.pid()) != 0 })
	p := findOne(t, "--pid", strconv.Itoa(traced.pid()))
	if p.num("tracer") != debugger.pid() || p.str("state") != "t" {
		t.Errorf("%v", p)
	}
	out, _, _ := findAs(t, nil, "--pid", strconv.Itoa(traced.pid()))
	contains(t, out, fmt.Sprintf(" t (process %d) ", debugger.pid()))
}

// Names are what processes choose: none makes two lines of one.
func TestFindShowsOddNames(t *testing.T) {
	comm := fmt.Sprintf("a\tb\n\x1b%06d", rand.IntN(1e6))
	start(t, nil, ownSleep(t, comm), "1000")
	eventually(t, "it runs", func() bool { _, _, status := findAs(t, nil, "--comm", comm); return status == 0 })
	out, _, _ := findAs(t, nil, "--comm", comm)
	contains(t, out, strconv.Quote(comm))
	if strings.Count(out, "\n") != 2 || strings.Contains(out, "\x1b") {
		t.Errorf("%q", out)
	}
	if p := findOne(t, "--comm", comm); p.str("comm") != comm {
		t.Errorf("%v", p)
	}
}

// Only processes are listed, once each, and those that have ended are not.
func TestFindListsProcesses(t *testing.T) {
	crowd := start(t, nil, fixture(t, "bin/test/crowd"), "100", "0")
	eventually(t, "it has threads", func() bool {
		tasks, _ := procfs.Threads(crowd.pid())
		return len(tasks) > 100
	})
	listed := 0
	for _, p := range find(t, "--comm", "crowd") {
		if p.num("pid") == crowd.pid() {
			listed++
		}
	}
	if listed != 1 {
		t.Errorf("listed %d times", listed)
	}
	eventually(t, "a thread is told from a process", func() bool { // threads come and go
		tasks, err := procfs.Threads(crowd.pid())
		must(t, err)
		_, errs, status := findAs(t, nil, "--pid", strconv.Itoa(tasks[len(tasks)-1]))
		return status == 1 && strings.Contains(errs, fmt.Sprintf("is a thread of process %d\n", crowd.pid()))
	})

	comm := unique("zombie")
	zombie := start(t, nil, ownSleep(t, comm), "0")
	eventually(t, "it has ended", func() bool { return !alive(zombie.pid()) })
	contains(t, findNone(t, nil, "--comm", comm), "no process is comm "+comm)
	if p := findOne(t, "--pid", strconv.Itoa(zombie.pid())); p.str("state") != "Z" {
		t.Errorf("%v", p)
	}
}

// What cannot be seen is said, with what it takes, in the one line.
func TestFindSaysWhatItCannotSee(t *testing.T) {
	pod, comm := unique("web"), unique("proxy")
	exe := ownSleep(t, comm)
	pid := barePod(t, pod, exe, "1000")
	nobody := []string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"}
	without := func(capability string) []string {
		return []string{"capsh", "--drop=" + capability, "--shell=/usr/bin/env", "--", "--"}
	}
	contains(t, findNone(t, nobody, "--pod", pod), "no process is pod "+pod+"; ", " processes could not be looked into (that needs CAP_SYS_PTRACE and CAP_SYS_ADMIN)\n")
	contains(t, findNone(t, nobody, "--exe", exe), "no process is exe "+exe+"; ", " processes could not be looked into (that needs CAP_SYS_PTRACE)\n")
	contains(t, findNone(t, without("cap_sys_admin"), "--pod", pod), "no process is pod "+pod+"; ", "CAP_SYS_ADMIN")
	hidden := append([]string{"unshare", "--mount", "--propagation", "private", "sh", "-c", `mount -t proc -o hidepid=invisible proc /proc && exec "$@"`, "sh"}, nobody...)
	contains(t, findNone(t, hidden, "--comm", comm), "no process is comm "+comm+"; ", "hidepid=invisible")
	contains(t, findNone(t, []string{"unshare", "--pid", "--fork", "--mount-proc"}, "--comm", comm), "no process is comm "+comm+"; ", "hostPID: true")
	// Here pids of /proc are not those that system calls take.
	contains(t, findNone(t, []string{"unshare", "--pid", "--fork"}, "--comm", comm), "/proc is not of this pid namespace")

	// What needs nothing works for everybody.
	out, errs, status := findAs(t, nobody, "--comm", comm, "--json")
	var found []event
	if err := json.Unmarshal([]byte(out), &found); err != nil || status != 0 || len(found) != 1 || found[0].num("pid") != pid || found[0].num("ns_pid") != 1 || found[0]["pod"] != nil || found[0].str("exe") != "" {
		t.Errorf("exit status %d, %v\n%s%s", status, err, out, errs)
	}
}
