package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// target starts a process in namespaces that unshare makes with these arguments, behind a shell's script, and returns its pid.
func target(t testing.TB, unshare []string, script string) int {
	t.Helper()
	p := start(t, nil, slices.Concat([]string{"unshare"}, unshare, []string{"--fork", "--kill-child", "sh", "-c", script + "\necho up; exec sleep infinity"})...)
	p.out.await(t, "up")
	pid := children(t, p.pid())[0]
	endWithTest(t, pid)
	return pid
}

// apart are all kinds but user.
var apart = []string{"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--time", "--mount-proc"}

// nsexec is the command for a process.
func nsexec(t testing.TB, pid int, args ...string) []string {
	t.Helper()
	return append([]string{cli(t), "nsexec", "--pid", strconv.Itoa(pid)}, args...)
}

// entering is the command that an nsexec has started.
func entering(t testing.TB, nsexec int) int {
	t.Helper()
	var all []int
	eventually(t, "nsexec has one child", func() bool { all = children(t, nsexec); return len(all) == 1 }) // its stage has ended
	endWithTest(t, all[0])
	return all[0]
}

const kinds = "pid,mnt,uts,net,ipc,user,cgroup,time"

// namespaceOf names a namespace of a process.
func namespaceOf(t testing.TB, pid int, kind string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, kind))
	must(t, err)
	return link
}

// Exactly the namespaces that are asked for are the target's: seen from outside.
func TestNsexecEntersNamespaces(t *testing.T) {
	t.Parallel()
	own := target(t, apart, "")
	user := target(t, append([]string{"--user", "--map-root-user"}, apart...), "")
	check := func(pid int, list string, want ...string) {
		t.Helper()
		args := []string{"--ns", list}
		if list == "" {
			args = nil
		}
		p := start(t, nil, nsexec(t, pid, append(args, "--", "sh", "-c", "echo ready; exec sleep infinity")...)...)
		p.out.await(t, "ready")
		command := entering(t, p.pid())
		for kind := range strings.SplitSeq(kinds, ",") {
			of, what := os.Getpid(), "the caller's"
			if slices.Contains(want, kind) {
				of, what = pid, "the target's"
			}
			if got := namespaceOf(t, command, kind); got != namespaceOf(t, of, kind) {
				t.Errorf("--ns %q: %s is not %s", list, got, what)
			}
		}
	}
	for kind := range strings.SplitSeq(kinds, ",") {
		check(own, kind, kind)
	}
	check(own, "", "pid", "mnt", "uts")
	check(own, "all", strings.Split(kinds, ",")...) // user is the caller's: it is not entered again
	check(own, "net,ipc", "net", "ipc")
	check(user, "user", "user")
	check(user, "all", strings.Split(kinds, ",")...)
	check(user, "time,user", "time", "user")
}

func TestNsexecTime(t *testing.T) {
	t.Parallel()
	pid := target(t, append([]string{"--boottime", "1000000000"}, apart...), "")
	up := func(list string) float64 {
		first, _, _ := strings.Cut(run(t, nsexec(t, pid, "--ns", list, "--", "cat", "/proc/uptime")...), " ")
		seconds, err := strconv.ParseFloat(first, 64)
		must(t, err)
		return seconds
	}
	if with, without := up("time"), up("uts"); with < 1e9 || without > 1e9 {
		t.Errorf("it is up %f s in the time namespace, and %f s outside", with, without)
	}
}

// In a user namespace the command is root, as far as there is one; setgroups may be denied there.
func TestNsexecUser(t *testing.T) {
	t.Parallel()
	identity := func(pid int, prefix ...string) string {
		return run(t, append(prefix, nsexec(t, pid, "--ns", "user,pid,mnt", "--", "sh", "-c", "id -u; id -g; grep CapEff /proc/self/status")...)...)
	}
	own := append([]string{"--mount", "--pid", "--mount-proc"}, "--user")
	contains(t, identity(target(t, append(own, "--map-root-user"), "")), "0\n0\n", "CapEff:\t000001ff")
	nobody := target(t, append(own, "--map-user", "1000"), "")
	contains(t, identity(nobody), "1000\n", "CapEff:\t0000000000000000") // 0 is not mapped: the caller stays who it is, root outside
	// Without any privilege, into a namespace of one's own.
	as := []string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"}
	p := start(t, nil, append(as, "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "echo up; exec sleep infinity")...)
	p.out.await(t, "up")
	contains(t, identity(children(t, p.pid())[0], as...), "0\n0\n", "CapEff:\t000001ff")
}

// Where the /proc behind the entry is of another pid namespace, the command gets a right one, which nobody else sees.
func TestNsexecMountsProc(t *testing.T) {
	t.Parallel()
	for name, pid := range map[string]int{
		"mount namespace":                  target(t, []string{"--pid", "--mount"}, ""),
		"shared mounts":                    target(t, []string{"--pid", "--mount", "--propagation", "shared"}, ""),
		"no mount namespace of its own":    target(t, []string{"--pid"}, ""),
		"a user namespace":                 target(t, []string{"--pid", "--mount", "--user", "--map-root-user"}, ""),
		"a right one: there is no need to": target(t, []string{"--pid", "--mount", "--mount-proc"}, ""),
	} {
		mounts := func() string {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
			must(t, err)
			return strings.Join(slices.DeleteFunc(strings.Split(string(b), "\n"), func(line string) bool { return !strings.Contains(line, " /proc ") }), "\n")
		}
		before := mounts()
		p := start(t, nil, nsexec(t, pid, "--ns", "all", "--", "sh", "-c", "cat /proc/1/comm; readlink /proc/self >/dev/null && echo $$; echo ready; exec sleep infinity")...)
		p.out.await(t, "ready")
		command := entering(t, p.pid())
		st, err := procfs.ReadStatus(command)
		must(t, err)
		lines := strings.Fields(p.out.String())
		if lines[0] != "sleep" || lines[1] != strconv.Itoa(st.NSpid) {
			t.Errorf("%s: /proc/1 there is %s, and the command's pid %s, really %d", name, lines[0], lines[1], st.NSpid)
		}
		if mounts() != before {
			t.Errorf("%s: what the target has mounted on /proc has changed", name)
		}
		if same := namespaceOf(t, command, "mnt") == namespaceOf(t, pid, "mnt"); same != strings.HasPrefix(name, "a right one") {
			t.Errorf("%s: the mount namespace is the target's: %t", name, same)
		}
	}
}

func TestNsexecRoot(t *testing.T) {
	t.Parallel()
	root := sharedDir(t)
	must(t, os.Mkdir(filepath.Join(root, "work"), 0o755))
	must(t, os.Mkdir(filepath.Join(root, "proc"), 0o755))
	copyFile(t, fixture(t, "bin/test/probe-static"), filepath.Join(root, "probe"))
	copyFile(t, cli(t), filepath.Join(root, "work", "envoyshim"))
	for _, unshared := range [][]string{{"--mount", "--pid"}, {"--uts"}} {
		p := start(t, nil, slices.Concat([]string{"unshare"}, unshared, []string{"--fork", "--kill-child", "--root", root, "--wd", "/work", "/probe"})...)
		p.out.await(t, "main")
		pid := children(t, p.pid())[0]
		if _, code := runAny(t, nsexec(t, pid, "--root", "--", "/probe", "exit", "7")...); code != 7 {
			t.Errorf("%v: exit status %d", unshared, code)
		}
		// Also a relative path leads into the target's tree, from its working directory.
		if out := run(t, nsexec(t, pid, "--root", "--", "./envoyshim", "--version")...); out == "" {
			t.Error("no version")
		}
		if _, code := runAny(t, nsexec(t, pid, "--root", "--", "/bin/sh", "-c", "exit 7")...); code != 127 {
			t.Errorf("%v: this machine's shell behind the root: exit status %d", unshared, code)
		}
	}
}

// containerOf starts a container of Docker that has nothing but its program, bin/test/probe-static by a name of its own, and returns its pid.
func containerOf(t testing.TB, name, host, program string) int {
	t.Helper()
	needDocker(t)
	file, image := filepath.Join(sharedDir(t), "image.tar"), "envoyshim-test-nsexec-"+name+":1"
	saveImage(t, makeImage(t, v1.Config{Entrypoint: []string{program}}, makeLayer(t, entryOf{name: program[1:], from: fixture(t, "bin/test/probe-static")})), file, image)
	loadImage(t, file, image)
	p := start(t, nil, "docker", "run", "--rm", "--name", name, "--hostname", host, "--network", "none", "--read-only", "--user", "1337", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", image)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", name).Run() })
	p.out.await(t, "main")
	pid, err := strconv.Atoi(strings.TrimSpace(docker(t, "inspect", "--format", "{{.State.Pid}}", name)))
	must(t, err)
	return pid
}

// A container that has nothing but its program, by the name of its pod.
func TestNsexecContainer(t *testing.T) {
	t.Parallel()
	name := unique("web")
	containerOf(t, name, name, "/probe")
	byPod := []string{cli(t), "nsexec", "--pod", name}
	if r := finish(t, append(byPod, "--", "/probe", "exit", "9")...); r.code != 9 || r.stdout != "constructor\nmain" || r.stderr != "" {
		t.Errorf("%+v", r)
	}
	if r := finish(t, append(byPod, "--", "sh")...); r.code != 127 || r.stderr != "envoyshim: execute sh: no such file or directory in the namespaces entered: it or its interpreter is not there" {
		t.Errorf("%+v", r)
	}
	// The files of the node, with the host name and the network of the pod.
	out := finish(t, append(byPod, "--ns", "uts,net,pid,ipc", "--", "sh", "-c", "uname -n; cat /proc/net/dev | wc -l")...).stdout
	if out != name+"\n3" { // two lines of headings, and lo
		t.Error(out)
	}
	// A second one of that name: which is meant?
	containerOf(t, name+"-other", name, "/probe")
	r := finish(t, append(byPod, "--", "/probe", "exit", "9")...)
	if r.code != 1 || strings.Contains(r.stderr, "\n") || strings.Count(r.stderr, "--pid ") != 2 {
		t.Errorf("%+v", r)
	}
	id := strings.TrimSpace(docker(t, "inspect", "--format", "{{.Id}}", name+"-other"))
	for _, by := range [][]string{{"--container", id[:12], "--pod", name}, {"--container", "docker://" + id}} {
		if r := finish(t, slices.Concat([]string{cli(t), "nsexec"}, by, []string{"--", "/probe", "exit", "9"})...); r.code != 9 {
			t.Errorf("%v: %+v", by, r)
		}
	}
}

// Of a pod with several containers, which Kubernetes has in one UTS namespace, the pause container is never meant; of several others one must be
// named. Of a container, its first process is taken.
func TestNsexecPod(t *testing.T) {
	t.Parallel()
	host := unique("web")
	uid := "01234567-89ab-cdef-0123-" + fmt.Sprintf("%012x", os.Getpid())
	pause := containerOf(t, host, host, "/pause")
	// Its unshare stays in the pod, as somebody's shell would: of no container.
	container := func(id, called string) int {
		exe := ownSleep(t, called)
		p := start(t, nil, "nsenter", "--target", strconv.Itoa(pause), "--uts",
			"unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", `"$0" 1000 & hostname "$1"; echo up; exec "$0" 1000`, exe, host)
		p.out.await(t, "up")
		pid := onlyChild(t, p.pid(), called)
		eventually(t, "the container has two processes", func() bool { all := children(t, pid); return len(all) == 1 && procfs.Comm(all[0]) == called })
		for _, of := range append(children(t, pid), pid) {
			intoCgroup(t, of, "kubepods/pod"+uid+"/"+id)
		}
		return pid
	}
	command := []string{"/pause"} // there is nothing else
	check := func(want int, by ...string) {
		t.Helper()
		p := start(t, nil, slices.Concat([]string{cli(t), "nsexec"}, by, []string{"--"}, command)...)
		p.out.await(t, "main")
		if command := entering(t, p.pid()); namespaceOf(t, command, "mnt") != namespaceOf(t, want, "mnt") {
			t.Errorf("%v: it is not in the mount namespace of process %d", by, want)
		}
	}
	check(pause, "--pod", host)
	command = []string{"sh", "-c", "echo main; exec sleep infinity"}
	proxy := container(strings.Repeat("b", 64), unique("proxy"))
	check(proxy, "--pod", host)
	check(proxy, "--pod-uid", uid)
	other := container(strings.Repeat("c", 64), unique("other"))
	r := finish(t, cli(t), "nsexec", "--pod", host, "--", "true")
	if r.code != 1 || strings.Contains(r.stderr, "\n") {
		t.Errorf("%+v", r)
	}
	for _, pid := range []int{proxy, other} {
		contains(t, r.stderr, fmt.Sprintf("--pid %d (%s, container ", pid, procfs.Comm(pid)), "pod uid "+uid)
	}
	lacks(t, r.stderr, "pause")
	check(other, "--pod", host, "--comm", procfs.Comm(other))
	check(proxy, "--pod", host, "--container", "bbbb")
}

// Files of the node are executed where there are none, by descriptor: this program, too, with its command line.
func TestEnterWithAFile(t *testing.T) {
	t.Parallel()
	name := unique("web")
	pid := strconv.Itoa(containerOf(t, name, name, "/probe"))
	enter := fixture(t, "bin/test/envoyshim-enter")
	if _, code := runAny(t, enter, pid, fixture(t, "bin/test/probe-static"), "probe", "exit", "4"); code != 4 {
		t.Errorf("exit status %d", code)
	}
	if out := run(t, enter, pid, cli(t), "envoyshim", "find", "--pid", "1"); !strings.Contains(out, "/probe") {
		t.Errorf("process 1 of the container is\n%s", out)
	}
	// Its own namespaces: here it has descriptors 0, 1, 2 and 4, and 3 is the listing's.
	mine := target(t, apart, "")
	if out := run(t, enter, strconv.Itoa(mine), "/bin/ls", "ls", "/proc/self/fd"); out != "0\n1\n2\n3\n4\n" {
		t.Errorf("descriptors: %q", out)
	}
	if out := run(t, enter, strconv.Itoa(mine), "/usr/bin/env", "env"); out != "ONLY=this\n" {
		t.Errorf("environment: %q", out)
	}
}

func TestNsexecStatus(t *testing.T) {
	t.Parallel()
	pid := target(t, apart, "")
	for status := range 256 {
		if _, code := runAny(t, nsexec(t, pid, "--", "sh", "-c", fmt.Sprint("exit ", status))...); code != status {
			t.Errorf("exit status %d became %d", status, code)
		}
	}
	dir := sharedDir(t)
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		switch sig {
		case syscall.SIGCHLD, syscall.SIGCONT, syscall.SIGSTOP, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGURG, syscall.SIGWINCH, 32, 33:
			continue // they kill nobody; or are the C library's
		}
		cmd := exec.Command(cli(t), nsexec(t, pid, "--", probe(t), "kill", strconv.Itoa(int(sig)))[1:]...)
		cmd.Dir = dir
		status := startCmd(t, nil, cmd).status()
		if !status.Signaled() || status.Signal() != sig || status.CoreDump() {
			t.Errorf("the death by signal %d became %#x", sig, status)
		}
	}
	// A process that is PID 1 cannot die so.
	if status := start(t, nil, append([]string{"unshare", "--pid", "--fork", "--mount-proc"}, "sh", "-c", `"$@" & exec "$0" nsexec --pid $! -- sh -c 'kill -TERM $$'`, cli(t), "sleep", "100")...).status(); status.ExitStatus() != 128+15 {
		t.Errorf("as PID 1 the death by SIGTERM became %#x", status)
	}
}

// hear is the fixture that tells of these signals.
func hear(t testing.TB, signals ...syscall.Signal) []string {
	t.Helper()
	argv := []string{fixture(t, "bin/test/hear")}
	for _, sig := range signals {
		argv = append(argv, strconv.Itoa(int(sig)))
	}
	return argv
}

func heard(sig syscall.Signal) string { return fmt.Sprintf("got %d.", sig) }

// Each signal to nsexec reaches the command, once.
func TestNsexecPassesSignals(t *testing.T) {
	t.Parallel()
	all := []syscall.Signal{
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGTERM,
		syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGWINCH, syscall.SIGIO, syscall.SIGPWR, 34, 35, 50, 64,
	}
	p := startInGroup(t, nsexec(t, target(t, apart, ""), append([]string{"--"}, hear(t, all...)...)...))
	times := map[syscall.Signal]int{}
	hears := func(sig syscall.Signal) {
		times[sig]++
		eventually(t, "the command has heard of a signal", func() bool { return strings.Count(p.out.String(), heard(sig)) >= times[sig] })
	}
	for _, sig := range all {
		must(t, unix.Kill(p.pid(), sig))
		hears(sig)
		if sig == syscall.SIGHUP {
			hears(syscall.SIGUSR1) // it signals its process group; a second one that is pending beside it would be lost (signal(7))
		}
	}
	// What the command has sent to the group is not passed on to it once more.
	if n := p.out.len(); n != 1+len(all)+1 {
		t.Errorf("it has heard\n%s", p.out)
	}
}

// startInGroup starts a command in a process group of its own, which it may signal.
func startInGroup(t testing.TB, argv []string) *process {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := startCmd(t, nil, cmd)
	p.out.await(t, "ready")
	endWithTest(t, entering(t, p.pid()))
	return p
}

// Without a terminal there is nobody to continue two: only the command stops, also by signals to nsexec.
func TestNsexecStopsAndContinues(t *testing.T) {
	t.Parallel()
	// In a process group whose parent is of the same session, which alone SIGTSTP stops (setpgid(2), orphaned process groups).
	p := startInGroup(t, nsexec(t, target(t, apart, ""), "--", "sh", "-c", "echo ready; exec sleep infinity"))
	command := entering(t, p.pid())
	for range 3 {
		must(t, unix.Kill(p.pid(), unix.SIGTSTP))
		eventually(t, "the command stops", func() bool { return state(t, command) == "T" })
		if state(t, p.pid()) == "T" {
			t.Error("nsexec has stopped, too")
		}
		must(t, unix.Kill(p.pid(), unix.SIGCONT))
		eventually(t, "the command goes on", func() bool { return state(t, command) == "S" })
	}
	// One that is killed leaves the command alone, as nsenter does.
	must(t, p.cmd.Process.Kill())
	p.status()
	if !alive(command) {
		t.Error("the command has ended with nsexec")
	}
}

// What the caller gave reaches the command, though two programs of Go lie between.
func TestNsexecInherits(t *testing.T) {
	t.Parallel()
	pid := target(t, apart, "")
	parent := []string{fixture(t, "bin/test/parent"), "mif", "--"}
	of := func(argv ...string) string { return run(t, append(parent, argv...)...) }
	show := []string{"/bin/sh", "-c", "grep -E 'Sig(Blk|Ign|Cgt|Pnd)|ShdPnd' /proc/self/status"}
	if want, got := of(show...), of(nsexec(t, pid, append([]string{"--"}, show...)...)...); got != want {
		t.Errorf("signals are\n%s, not\n%s", got, want)
	}
	// Descriptor 3 is the listing's own.
	if got := of(nsexec(t, pid, "--", "ls", "/proc/self/fd")...); got != "0\n1\n2\n3\n" {
		t.Errorf("descriptors: %q", got)
	}
	env := []string{"A=1", "ENVOYSHIM_MODE=debug", "B=x y"}
	p := start(t, env, nsexec(t, pid, "--", "env")...)
	p.status()
	p.out.end(t)
	if want := append([]string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}, env...); p.out.String() != strings.Join(want, "\n") {
		t.Errorf("the environment is\n%s", p.out)
	}
}

func TestNsexecRefuses(t *testing.T) {
	t.Parallel()
	pid := target(t, apart, "mount --make-rprivate / && mount -o remount,bind,ro /")
	gone := start(t, nil, "true")
	gone.status()
	dir := sharedDir(t)
	must(t, os.WriteFile(filepath.Join(dir, "plain"), []byte("text"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "odd"), []byte("text"), 0o755))
	nobody := []string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all"}
	without := func(capability string) []string { return []string{"setpriv", "--bounding-set", "-" + capability} }
	weak := target(t, apart, "exec setpriv --bounding-set -all sh -c 'echo up; exec sleep infinity'")
	for _, c := range []struct {
		prefix []string
		args   []string
		code   int
		stderr string
	}{
		{nil, nsexec(t, pid, "--", "sh", "-c", "exit 3"), 3, ""}, // a read-only root is no obstacle
		{[]string{"setpriv", "--no-new-privs"}, nsexec(t, pid, "--", "sh", "-c", "exit 3"), 3, ""},
		{nil, nsexec(t, pid, "--", "nonexistent"), 127, "execute nonexistent: no such file or directory in the namespaces entered"},
		{nil, nsexec(t, pid, "--", ""), 127, "no such file or directory in the namespaces entered"},
		{nil, nsexec(t, pid, "--", dir+"/plain"), 126, "plain: permission denied"},
		{nil, nsexec(t, pid, "--", dir+"/odd"), 126, "odd: exec format error"},
		{nil, nsexec(t, pid, "--", dir), 126, "permission denied"},
		{nil, nsexec(t, gone.pid(), "--", "true"), 1, "no such process"},
		{nil, nsexec(t, pid, "--ns", "pid,disk", "--", "true"), 2, `--ns: "disk" is no kind of namespace; there are ` + kinds + ", and all"},
		{nil, []string{cli(t), "nsexec", "--", "true"}, 2, "say whose namespaces: --pid, or"},
		{nil, nsexec(t, pid, "--comm", "sleep", "--", "true"), 2, "say whose namespaces"},
		{nil, nsexec(t, pid), 2, "expected"},
		{nil, []string{cli(t), "nsexec", "--pod", "no-such-pod-is-here", "--", "true"}, 1, "no-such-pod-is-here"},
		{nobody, nsexec(t, pid, "--", "true"), 1, "operation not permitted: CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_SYS_CHROOT are missing here; run it as root on the node, or as root of"},
		{nobody, nsexec(t, pid, "--root", "--", "true"), 1, "enter the root directory"},
		{without("sys_admin"), nsexec(t, pid, "--", "true"), 1, ": CAP_SYS_ADMIN is missing here; run it as root on the node, or add"},
		{without("sys_ptrace"), nsexec(t, pid, "--", "true"), 1, ": CAP_SYS_PTRACE is missing here; run it as root on the node, or add"},
		{without("sys_chroot"), nsexec(t, pid, "--", "true"), 1, ": CAP_SYS_CHROOT is missing here; run it as root on the node, or add"},
		{without("sys_admin,-sys_ptrace"), nsexec(t, weak, "--", "true"), 1, ": CAP_SYS_ADMIN is missing here; run"},
		{without("all,+sys_admin,+sys_chroot"), nsexec(t, weak, "--", "sh", "-c", "exit 3"), 3, ""}, // it is enough for one that may no more
		{without("sys_admin,-sys_ptrace"), nsexec(t, pid, "--", "true"), 1, ": CAP_SYS_ADMIN and CAP_SYS_PTRACE are missing here; run"},
		{without("all,+sys_admin,+sys_chroot"), nsexec(t, pid, "--", "true"), 1, ": CAP_SYS_PTRACE is missing here; run"},
		{without("sys_chroot"), nsexec(t, pid, "--ns", "uts", "--root", "--", "true"), 1, ": CAP_SYS_CHROOT is missing here; run it as root on the node, or add"},
		{nil, []string{"nsenter", "--target", strconv.Itoa(pid), "--pid", "--mount", cli(t), "nsexec", "--pid", "1", "--ns", "net", "--", "sh", "-c", "exit 3"}, 3, ""},
	} {
		r := finish(t, append(c.prefix, c.args...)...)
		if r.code != c.code || (c.stderr == "") != (r.stderr == "") || strings.Contains(r.stderr, "\n") || !strings.Contains(r.stderr, c.stderr) {
			t.Errorf("%v %v: %+v; want status %d, %q", c.prefix, c.args, r, c.code, c.stderr)
		}
	}
}

// A target that has ended and was not waited for; its pid namespace, whose init is killed.
func TestNsexecTargetEnds(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "sh", "-c", "sleep infinity & echo $!; exec sleep infinity")
	line, _ := p.out.at(0)
	zombie, err := strconv.Atoi(line)
	must(t, err)
	eventually(t, "its parent waits for nobody", func() bool { return procfs.Comm(p.pid()) == "sleep" })
	must(t, unix.Kill(zombie, unix.SIGKILL))
	eventually(t, "it is a zombie", func() bool { return state(t, zombie) == "Z" })
	for _, args := range [][]string{{"--", "true"}, {"--root", "--", "true"}} {
		if r := finish(t, nsexec(t, zombie, args...)...); r.code != 1 || !strings.Contains(r.stderr, "it has ended") || strings.Contains(r.stderr, "\n") {
			t.Errorf("%+v", r)
		}
	}
	pid := target(t, apart, "")
	running := start(t, nil, nsexec(t, pid, "--", "sh", "-c", "echo ready; exec sleep infinity")...)
	running.out.await(t, "ready")
	must(t, unix.Kill(pid, unix.SIGKILL))
	if status := running.status(); !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("the pid namespace ended, and nsexec with %#x", status)
	}
}

func TestNsexecOnTerminal(t *testing.T) {
	t.Parallel()
	pid := target(t, apart, "")
	p := startOnTerminal(t, "sh", "-i")
	p.typed(strings.Join(nsexec(t, pid, append([]string{"--"}, hear(t, syscall.SIGINT, syscall.SIGUSR1, syscall.SIGWINCH)...)...), " ") + "\n")
	p.await("ready")
	outer := children(t, p.pid())[0]
	command := entering(t, outer)
	if p.foreground() != outer {
		t.Error("it is not in the foreground")
	}
	// What was passed on before it has come when USR1 has.
	settle := func(what string) {
		t.Helper()
		must(t, unix.Kill(outer, unix.SIGUSR1))
		p.await(heard(unix.SIGUSR1))
		if n := strings.Count(p.out.String(), what); n != 1 {
			t.Fatalf("%q came %d times", what, n)
		}
	}
	p.typed("\x03")
	p.await(heard(unix.SIGINT))
	settle(heard(unix.SIGINT))
	must(t, unix.IoctlSetWinsize(int(p.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 150}))
	p.await(heard(unix.SIGWINCH))
	settle(heard(unix.SIGWINCH))
	for range 3 {
		p.typed("\x1a")
		p.await("Stopped")
		if state(t, outer) != "T" || state(t, command) != "T" || p.foreground() != p.pid() {
			t.Fatalf("stopped: nsexec is in state %s, the command in %s, in the foreground is %d", state(t, outer), state(t, command), p.foreground())
		}
		p.typed("bg\n")
		eventually(t, "both go on in the background", func() bool { return state(t, outer) != "T" && state(t, command) != "T" })
		p.typed("fg\n")
		eventually(t, "it is in the foreground", func() bool { return p.foreground() == outer })
	}
	settle(heard(unix.SIGINT))
	run(t, "kill", "-KILL", strconv.Itoa(command))
	p.await("Killed")
	p.typed("echo status $?\n")
	p.await("status 137")
}

// A shell behind the entry has job control of its own, and gives the terminal back when it suspends itself.
func TestNsexecShellOnTerminal(t *testing.T) {
	t.Parallel()
	pid := target(t, apart, "hostname behind-the-entry")
	p := startOnTerminal(t, "bash", "--norc", "--noprofile", "--noediting", "-i")
	p.typed(strings.Join(nsexec(t, pid, "--", "bash", "--norc", "--noprofile", "--noediting", "-i"), " ") + "\n")
	p.typed("PS1=; echo host $HOSTNAME\n")
	p.await("host behind-the-entry")
	outer := children(t, p.pid())[0]
	p.typed("sleep 1000\n")
	shell := entering(t, outer)
	eventually(t, "sleep runs", func() bool {
		all := children(t, shell)
		return len(all) == 1 && p.foreground() == all[0] && procfs.Comm(all[0]) == "sleep"
	})
	p.typed("\x1a")
	p.await("Stopped")
	if state(t, outer) == "T" {
		t.Error("nsexec has stopped with the shell's job")
	}
	p.typed("kill -KILL %1; suspend -f\n")
	eventually(t, "both have stopped", func() bool { return state(t, outer) == "T" && state(t, shell) == "T" })
	p.typed("echo this is $HOSTNAME\n")
	lacks(t, p.await("this is"), "behind-the-entry")
	p.typed("fg\n")
	p.typed("echo again $HOSTNAME\n")
	p.await("again behind-the-entry")
	p.typed("exit 5\n")
	p.typed("echo status $? $HOSTNAME\n")
	lacks(t, p.await("status 5"), "behind-the-entry")
}

// The terminal comes back to a caller without job control when the group that had it is gone; and neighbours in a pipeline have it, too.
func TestNsexecGivesTerminalBack(t *testing.T) {
	t.Parallel()
	pid := target(t, apart, "")
	line := strings.Join(nsexec(t, pid, "--", "bash", "--norc", "--noprofile", "--noediting", "-i"), " ")
	p := startOnTerminal(t, "sh", "-c", line+`; echo status $?; read word; echo word $word; `+
		strings.Join(nsexec(t, pid, "--", "echo", "through"), " ")+` | (read a; echo asking; read b </dev/tty; echo $a $b)`)
	p.typed("PS1=; echo up\n")
	p.await("up")
	p.typed("kill -KILL $$\n")
	p.await("status 137")
	p.typed("first\n")
	p.await("word first")
	p.await("asking")
	p.typed("second\n")
	p.await("through second")
}
