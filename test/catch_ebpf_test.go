package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	nscatch "github.com/envoyshim/envoyshim/nsutil/catch"
)

// byEBPF is the program catcher (test/fixtures/catcher): OpenEBPF in a process of its own.
type byEBPF struct {
	*process
	told int // lines of its output that were taken
}

// catching starts a catcher, by the words given if any, and returns when it catches.
func catching(t testing.TB, o nscatch.Options, by ...string) *byEBPF {
	t.Helper()
	c := openCatcher(t, o, by...)
	c.next("ready")
	return c
}

func openCatcher(t testing.TB, o nscatch.Options, by ...string) *byEBPF {
	t.Helper()
	options, err := json.Marshal(o)
	must(t, err)
	return &byEBPF{process: start(t, nil, append(by, fixture(t, "bin/test/catcher"), string(options))...)}
}

// next is the next thing that the catcher tells, which is to be this.
func (c *byEBPF) next(what string) event {
	c.t.Helper()
	line, ok := c.out.at(c.told)
	c.told++
	var e event
	if !ok || json.Unmarshal([]byte(line), &e) != nil || e.str("event") != what {
		c.t.Fatalf("%q comes, not %s", line, what)
	}
	return e
}

// ends fails the test unless the catcher has nothing more to tell.
func (c *byEBPF) ends() {
	c.t.Helper()
	c.next("end")
	if got := c.status().ExitStatus(); got != 0 {
		c.t.Fatalf("exit status %d", got)
	}
}

// caught is the process that is caught next, which ends with the test.
func (c *byEBPF) caught() int {
	c.t.Helper()
	pid := c.next("caught").num("pid")
	endWithTest(c.t, pid)
	return pid
}

// program is the process in which the program in the kernel lives.
func (c *byEBPF) program() int {
	c.t.Helper()
	for _, pid := range children(c.t, c.pid()) {
		if procfs.Comm(pid) == "envoyshim-catch" {
			return pid
		}
	}
	c.t.Fatal("the catcher has no program")
	return 0
}

// inKernel is the number of the program in the kernel (proc_pid_fdinfo(5)).
func (c *byEBPF) inKernel() ebpf.ProgramID {
	c.t.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", c.program()))
	must(c.t, err)
	for _, info := range infos {
		b, _ := os.ReadFile(info)
		for line := range strings.Lines(string(b)) {
			if id, ok := strings.CutPrefix(line, "prog_id:"); ok {
				n, err := strconv.ParseUint(strings.TrimSpace(id), 10, 32)
				must(c.t, err)
				return ebpf.ProgramID(n)
			}
		}
	}
	c.t.Fatalf("no program of the kernel's in process %d", c.program())
	return 0
}

func unloaded(t testing.TB, id ebpf.ProgramID) {
	t.Helper()
	eventually(t, "the program is gone from the kernel", func() bool {
		p, err := ebpf.NewProgramFromID(id)
		if err == nil {
			p.Close()
		}
		return err != nil
	})
}

// stops runs argv to its end, as the parent that the kernel tells of each stop (waitpid(2), WUNTRACED), and returns how often it was stopped.
// What is stopped is let go.
func stops(t testing.TB, argv ...string) (n int) {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	must(t, err)
	p, err := os.StartProcess(path, argv, &os.ProcAttr{Env: os.Environ()})
	must(t, err)
	for {
		var status unix.WaitStatus
		switch _, err := unix.Wait4(p.Pid, &status, unix.WUNTRACED, nil); {
		case err == unix.EINTR:
		case err != nil:
			t.Error(err)
			return n
		case status.Stopped():
			n++
			_ = p.Signal(unix.SIGCONT)
		default:
			if status.ExitStatus() != 0 {
				t.Errorf("%v: wait status %#x", argv, status)
			}
			return n
		}
	}
}

// isNeverStopped fails the test if a program that is wanted nowhere is stopped.
func isNeverStopped(t testing.TB, argv ...string) {
	t.Helper()
	if n := stops(t, argv...); n != 0 {
		t.Errorf("%v was stopped %d times", argv, n)
	}
}

// isCaught fails the test unless argv, or what it starts, is caught by these options, stands at its first instruction, and runs to its end
// when it is let go.
func isCaught(t testing.TB, m nscatch.Match, argv ...string) {
	t.Helper()
	c := catching(t, nscatch.Options{Match: m, Count: 1})
	p := start(t, nil, argv...)
	pid := c.caught()
	unmoved(t, pid, p.out)
	if comm := procfs.Comm(pid); m.Comm != "" && comm != m.Comm {
		t.Errorf("%s is caught", comm)
	}
	if exe := strings.TrimSuffix(procfs.Exe(pid), " (deleted)"); m.Exe != "" && exe != filepath.Clean(m.Exe) {
		t.Errorf("%s is caught", exe)
	}
	cont(t, pid)
	if got := p.status().ExitStatus(); got != 0 {
		t.Errorf("exit status %d", got)
	}
	c.ends()
}

// isNotCaught fails the test if argv is stopped by what these options catch.
func isNotCaught(t testing.TB, m nscatch.Match, argv ...string) {
	t.Helper()
	c := catching(t, nscatch.Options{Match: m})
	isNeverStopped(t, argv...)
	must(t, c.cmd.Process.Signal(unix.SIGTERM))
	c.ends()
}

func TestEBPFCatchesAtTheFirstInstruction(t *testing.T) {
	for _, program := range []string{"bin/test/probe", "bin/test/probe-static", "bin/test/probe-static-pie"} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			path, name := ownProgram(t, fixture(t, program))
			n := trials(100)
			c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: n})
			for range n {
				p := start(t, nil, path, "exit", "7")
				if got := c.caught(); got != p.pid() {
					t.Fatalf("process %d is caught, not %d", got, p.pid())
				}
				unmoved(t, p.pid(), p.out)
				cont(t, p.pid())
				if got := p.status().ExitStatus(); got != 7 {
					t.Fatalf("exit status %d", got)
				}
			}
			c.ends()
			isNeverStopped(t, path, "exit", "0")
		})
	}
}

// By other programs, at first under the name that they are called by (proc_pid_comm(5)).
func TestEBPFCatchesEnvoy(t *testing.T) {
	for program, args := range map[string][]string{realEnvoy(t): {"--version"}, standin(t): {"--version"}, fixture(t, "bin/test/goprog"): nil} {
		t.Run(filepath.Base(program), func(t *testing.T) {
			name := fmt.Sprintf("c%x", rand.Uint32())
			link := filepath.Join(sharedDir(t), name)
			must(t, os.Symlink(program, link))
			for range trials(5) {
				c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name, Exe: program}, Count: 1})
				p := start(t, nil, append([]string{link}, args...)...)
				if got := c.caught(); got != p.pid() {
					t.Fatalf("process %d is caught, not %d", got, p.pid())
				}
				unmoved(t, p.pid(), p.out)
				c.ends()
				cont(t, p.pid())
				eventually(t, "it has run", func() bool { return p.out.String() != "" || !alive(p.pid()) })
			}
		})
	}
}

func TestEBPFTellsWhen(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 1})
	before := time.Now()
	p := start(t, nil, path, "exit", "0")
	e := c.next("caught")
	after := time.Now()
	const tick = 10 * time.Millisecond // of what tells the time
	for _, what := range []string{"started", "at"} {
		if at, err := time.Parse(time.RFC3339Nano, e.str(what)); err != nil || at.Before(before.Add(-tick)) || at.After(after.Add(tick)) {
			t.Errorf("%s %v, not between %v and %v (%v)", what, at, before, after, err)
		}
	}
	cont(t, p.pid())
}

// What /proc/PID/exe is counts, however the program was called.
func TestEBPFByExe(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	alone, static := ownProgram(t, fixture(t, "bin/test/probe-static"))
	dir := filepath.Dir(path)
	copyTo := func(path string) string {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		copyFile(t, probe(t), path)
		return path
	}
	elsewhere := copyTo(filepath.Join(sharedDir(t), name))
	longer := copyTo(path + "x")
	below := copyTo(filepath.Join(dir, strings.Repeat("d", 255), name))
	deep := copyTo(filepath.Join(dir+strings.Repeat("/d", 29), name)) // 32 components
	link, script := filepath.Join(dir, "link"), filepath.Join(dir, "script")
	must(t, os.Symlink(path, link))
	must(t, os.WriteFile(script, []byte("#!"+path+" exit\n"), 0o755))
	mounted := filepath.Join(dir, "mounted")
	must(t, os.Mkdir(mounted, 0o755))
	onto := filepath.Join(dir, "onto")
	must(t, os.WriteFile(onto, nil, 0o755))
	inMounts := func(script string) []string {
		return []string{"unshare", "--mount", "--propagation", "private", "sh", "-ec", script, path, dir, mounted, onto, name, alone}
	}
	for what, c := range map[string]struct {
		exe  string
		argv []string
	}{
		"path":                   {path, []string{path, "exit"}},
		"unclean":                {dir + "//./" + name, []string{path, "exit"}},
		"relative":               {path, []string{"sh", "-c", `cd "$1" && exec "./$2" exit`, "sh", dir, name}},
		"symlink":                {path, []string{link, "exit"}},
		"component of 255 bytes": {below, []string{below, "exit"}},
		"32 components":          {deep, []string{deep, "exit"}},
		"interpreter":            {path, []string{script}},
		"removed":                {path + "-", []string{"sh", "-c", `cp "$0" "$0-" && exec 9<"$0-" && rm "$0-" && exec /proc/self/fd/9 exit`, path}},
		"bind mount":             {mounted + "/" + name, inMounts(`mount --bind "$1" "$2"; exec "$2/$4" exit`)},
		"bind mount of a file":   {onto, inMounts(`mount --bind "$0" "$3"; exec "$3" exit`)},
		"mounts on a mount":      {mounted + "/" + name, inMounts(`mount -t tmpfs x "$2"; mount --bind "$1" "$2"; exec "$2/$4" exit`)},
		"own root":               {"/" + static, inMounts(`mount -t tmpfs x "$2"; cp "$5" "$2"; mkdir "$2/old"; cd "$2"; pivot_root . old; exec "/${5##*/}" exit`)},
	} {
		t.Run(what, func(t *testing.T) { isCaught(t, nscatch.Match{Exe: c.exe}, c.argv...) })
	}
	for what, c := range map[string]struct {
		exe  string
		argv []string
	}{
		"called by a symlink":   {link, []string{link, "exit"}},
		"other directory":       {path, []string{elsewhere, "exit"}},
		"longer name":           {path, []string{longer, "exit"}},
		"shorter name":          {longer, []string{path, "exit"}},
		"deeper":                {path, []string{below, "exit"}},
		"end of the path":       {"/" + name, []string{path, "exit"}},
		"script":                {script, []string{script}},
		"source of bind mounts": {path, inMounts(`mount --bind "$1" "$2"; exec "$2/$4" exit`)},
	} {
		t.Run("not/"+what, func(t *testing.T) { isNotCaught(t, nscatch.Match{Exe: c.exe}, c.argv...) })
	}
}

// The pod's name is the host name of its UTS namespace (nsutil.Query).
func TestEBPFByPod(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	in := func(host string) []string {
		return []string{"unshare", "--uts", "sh", "-ec", `echo "$1" >/proc/sys/kernel/hostname; exec "$2" exit`, "sh", host, path}
	}
	long := strings.Repeat("long-name.", 7)
	for pod, host := range map[string]string{
		"web-0":          "web-0",
		"a.b":            "a.b",
		"web-1":          "web-1.web.default.svc.cluster.local",
		"web-2":          "web-2.web.default.svc",
		long + "-0":      strings.TrimRight(long[:63], "-."),
		long[:62] + "-x": long[:62],
	} {
		t.Run(host, func(t *testing.T) { isCaught(t, nscatch.Match{Comm: name, Pod: pod}, in(host)...) })
	}
	for pod, host := range map[string]string{
		"web":   "web-0",
		"web-0": "web",
		"web-1": "web-1.web",
		"web-2": "web-2.web.default.svcs.cluster.local",
		"web-3": "web-3.svc.web.default",
	} {
		t.Run("not/"+host, func(t *testing.T) { isNotCaught(t, nscatch.Match{Comm: name, Pod: pod}, in(host)...) })
	}
	t.Run("not/the node", func(t *testing.T) {
		host, err := os.Hostname()
		must(t, err)
		isNotCaught(t, nscatch.Match{Comm: name, Pod: host}, path, "exit")
	})
}

// Groups as the kubelet and the runtimes make them, in each hierarchy of this machine.
func TestEBPFByCgroup(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	digits := func(n int) string {
		s := ""
		for len(s) < n {
			s += fmt.Sprintf("%08x", rand.Uint32())
		}
		return s[:n]
	}
	uid, plain, id, other := uuid(digits(32)), digits(32), digits(64), digits(64)
	under := strings.ReplaceAll(uid, "-", "_")
	in := func(t *testing.T, hierarchy, group string) []string {
		base := filepath.Join("/sys/fs/cgroup", hierarchy, "envoyshim-test-"+name)
		dir := filepath.Join(base, group)
		must(t, os.MkdirAll(dir, 0o755))
		t.Cleanup(func() {
			for ; strings.HasPrefix(dir, base); dir = filepath.Dir(dir) {
				if err := unix.Rmdir(dir); err != nil && err != unix.EBUSY && err != unix.ENOENT { // another test's group is in it
					t.Error(err)
				}
			}
		})
		return []string{"sh", "-ec", `echo $$ >"$1/cgroup.procs"; exec "$2" exit`, "sh", dir, path}
	}
	hierarchies := []string{""}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err != nil {
		hierarchies = []string{"unified", "systemd", "pids", "memory"}
	}
	for _, h := range hierarchies {
		for what, c := range map[string]struct {
			m     nscatch.Match
			group string
		}{
			"pod/cgroupfs":            {nscatch.Match{PodUID: uid}, "kubepods/burstable/pod" + uid + "/" + id},
			"pod/systemd":             {nscatch.Match{PodUID: uid}, "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope"},
			"pod/no systemd":          {nscatch.Match{PodUID: uid}, "system.slice/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + id},
			"pod/static":              {nscatch.Match{PodUID: plain}, "kubepods/pod" + plain + "/" + id},
			"pod/written otherwise":   {nscatch.Match{PodUID: strings.ToUpper(under)}, "kubepods/pod" + uid + "/" + id},
			"container/cgroupfs":      {nscatch.Match{Container: id}, "kubepods/burstable/pod" + uid + "/" + id},
			"container/systemd":       {nscatch.Match{Container: "containerd://" + id}, "kubepods.slice/cri-containerd-" + id + ".scope"},
			"container/no systemd":    {nscatch.Match{Container: id}, "system.slice/kubepods-burstable-pod" + under + ".slice:cri-containerd:" + id},
			"container/short":         {nscatch.Match{Container: id[:12]}, "docker/" + id},
			"container/short systemd": {nscatch.Match{Container: id[:12]}, "system.slice/docker-" + id + ".scope"},
			"container/inside":        {nscatch.Match{Container: id}, "docker/" + id + "/init.scope/x"},
			"both":                    {nscatch.Match{Container: id, PodUID: uid}, "kubepods/pod" + uid + "/" + id},
		} {
			if h != hierarchies[0] && what != "both" {
				continue // the names are read the same way in each
			}
			t.Run(h+"/"+what, func(t *testing.T) {
				c.m.Comm = name
				isCaught(t, c.m, in(t, h, c.group)...)
			})
		}
		for what, c := range map[string]struct {
			m     nscatch.Match
			group string
		}{
			"other pod":        {nscatch.Match{PodUID: uid}, "kubepods/burstable/pod" + plain + "/" + id},
			"other container":  {nscatch.Match{Container: id}, "kubepods/burstable/pod" + uid + "/" + other},
			"short":            {nscatch.Match{Container: id[:12]}, "docker/" + other[:52] + id[:12]},
			"only one":         {nscatch.Match{Container: id, PodUID: plain}, "kubepods/pod" + uid + "/" + id},
			"end of a longer":  {nscatch.Match{Container: id[1:]}, "docker/" + id},
			"the pod's prefix": {nscatch.Match{PodUID: uid}, "kubepods/xpod" + uid + "/" + id},
		} {
			if h != hierarchies[0] && what != "only one" {
				continue
			}
			t.Run(h+"/not/"+what, func(t *testing.T) {
				c.m.Comm = name
				isNotCaught(t, c.m, in(t, h, c.group)...)
			})
		}
	}
}

func uuid(digits string) string {
	return strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
}

// An overlay, a volume, a container's PID 1 and what it starts.
func TestEBPFInDocker(t *testing.T) {
	needDocker(t)
	_, name := ownProgram(t, fixture(t, "bin/test/probe-static"))
	volume, inVolume := ownProgram(t, fixture(t, "bin/test/probe-static"))
	image := "envoyshim-test-ebpf-" + name
	archive := filepath.Join(t.TempDir(), "image.tar")
	saveImage(t, makeImage(t, v1.Config{}, makeLayer(t, entryOf{name: "opt/"}, entryOf{name: "opt/" + name, from: fixture(t, "bin/test/probe-static")})), archive, image)
	loadImage(t, archive, image+":latest")
	runs := func(args ...string) []string {
		return append([]string{"docker", "run", "--rm", "--network", "none", "--name", "envoyshim-test-" + name, "--hostname", "host-" + name, "-v", filepath.Dir(volume) + ":/data/x:ro", image}, args...)
	}
	for what, m := range map[string]nscatch.Match{
		"comm": {Comm: name},
		"exe":  {Exe: "/opt/" + name},
		"pod":  {Comm: name, Pod: "host-" + name},
		"all":  {Comm: name, Exe: "/opt/" + name, Pod: "host-" + name},
	} {
		t.Run(what, func(t *testing.T) { isCaught(t, m, runs("/opt/"+name, "exit")...) })
	}
	t.Run("volume", func(t *testing.T) {
		isCaught(t, nscatch.Match{Exe: "/data/x/" + inVolume}, runs("/data/x/"+inVolume, "exit")...)
	})
	t.Run("not/of the node", func(t *testing.T) {
		isNotCaught(t, nscatch.Match{Exe: volume}, runs("/data/x/"+inVolume, "exit")...)
	})
	t.Run("container", func(t *testing.T) {
		id := strings.TrimSpace(docker(t, "create", "--network", "none", image, "/opt/"+name, "exit"))
		defer docker(t, "rm", "-f", id)
		isNotCaught(t, nscatch.Match{Comm: name, Container: id}, runs("/opt/"+name, "exit")...)
		isCaught(t, nscatch.Match{Comm: name, Container: id}, "docker", "start", "--attach", id)
		isCaught(t, nscatch.Match{Comm: name, Container: id[:12]}, "docker", "start", "--attach", id)
	})
}

// However a process comes to its exec.
func TestEBPFWhoeverExecs(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	python := func(script string) []string {
		return []string{"python3", "-c", "import os, subprocess, sys, threading\n" + script, path}
	}
	for what, argv := range map[string][]string{
		"fork":                   {"sh", "-c", `"$0" exit; true`, path},
		"vfork":                  python(`sys.exit(subprocess.run([sys.argv[1], "exit"], close_fds=False).returncode)`),
		"posix_spawn":            python(`sys.exit(os.waitpid(os.posix_spawn(sys.argv[1], [sys.argv[1], "exit"], {}), 0)[1])`),
		"not the leader":         python(`threading.Thread(target=lambda: os.execv(sys.argv[1], [sys.argv[1], "exit"])).start(); threading.Event().wait()`),
		"PID 1":                  {"unshare", "--pid", "--fork", "--kill-child", path, "exit"},
		"PID 1 of PID 1's":       {"unshare", "--pid", "--fork", "--kill-child", "unshare", "--pid", "--fork", "--kill-child", path, "exit"},
		"another user namespace": {"unshare", "--user", "--map-root-user", "--pid", "--fork", path, "exit"},
		"nobody":                 {"setpriv", "--reuid", "1337", "--clear-groups", "--no-new-privs", "--bounding-set", "-all", path, "exit"},
		"all signals blocked":    {fixture(t, "bin/test/parent"), "m", "--", path, "exit"},
	} {
		t.Run(what, func(t *testing.T) { isCaught(t, nscatch.Match{Comm: name}, argv...) })
	}
	t.Run("its own vessel", func(t *testing.T) { // executes itself: caught at each
		c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 2})
		p := start(t, nil, "sh", "-c", `"$0" exit && exec "$0" exit`, path)
		first := c.caught()
		cont(t, first)
		second := c.caught()
		if second != p.pid() || first == second {
			t.Errorf("%d and %d are caught", first, second)
		}
		cont(t, second)
		c.ends()
	})
}

// A tracer is told of each signal of its tracee: this one is none of its business.
func TestEBPFLeavesWhatIsTraced(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 1})
	out := gdb(t, path, "break main", "run exit 0", "continue")
	contains(t, out, "Breakpoint 1, main", "exited normally")
	lacks(t, out, "SIGSTOP")
	p := start(t, nil, path, "exit", "0") // which counts
	unmoved(t, c.caught(), p.out)
	cont(t, p.pid())
	c.ends()
}

// Exactly those that are asked for, while 500 others are executed a second, and these as fast as they can.
func TestEBPFSkipsAndCounts(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	other, _ := ownProgram(t, "/bin/true")
	const skip, count, all = 17, 29, 100
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Skip: skip, Count: count})
	done, letGo := make(chan struct{}), make(chan struct{})
	var load, begun, ended sync.WaitGroup
	var others atomic.Int64
	for range 2 {
		load.Go(func() {
			for tick := time.NewTicker(4 * time.Millisecond); ; <-tick.C { // 250 a second
				select {
				case <-done:
					return
				default:
					isNeverStopped(t, other)
					others.Add(1)
				}
			}
		})
	}
	eventually(t, "others are executed", func() bool { return others.Load() > 100 })
	var mu sync.Mutex
	stopped, told := map[int]bool{}, map[int]bool{}
	for range all {
		begun.Add(1)
		ended.Go(func() {
			p, status := startStopped(t, path, "exit")
			if status.Stopped() {
				mu.Lock()
				stopped[p.Pid] = true
				mu.Unlock()
			}
			begun.Done()
			if status.Stopped() {
				<-letGo
				_ = p.Signal(unix.SIGCONT)
				_, _ = p.Wait()
			}
		})
	}
	for range count {
		told[c.caught()] = true
	}
	c.ends()
	begun.Wait()
	if len(told) != count || !maps.Equal(told, stopped) {
		t.Errorf("%d are told, %d of %d are stopped, not %d", len(told), len(stopped), all, count)
	}
	close(letGo)
	ended.Wait()
	close(done)
	load.Wait()
}

// startStopped starts a program and waits until it is stopped, or has ended.
func startStopped(t testing.TB, argv ...string) (*os.Process, unix.WaitStatus) {
	var status unix.WaitStatus
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{})
	for err == nil {
		if _, err = unix.Wait4(p.Pid, &status, unix.WUNTRACED, nil); err == nil {
			return p, status
		}
		if err == unix.EINTR {
			err = nil
		}
	}
	t.Error(err)
	return p, status
}

// SIGKILL at any point: what is held stays so, nothing else is stopped, nothing stays loaded.
func TestEBPFKilledCatcher(t *testing.T) {
	for _, who := range []string{"catcher", "program"} {
		t.Run(who, func(t *testing.T) {
			path, name := ownProgram(t, probe(t))
			c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}})
			id, program := c.inKernel(), c.program()
			p := start(t, nil, path, "exit", "0")
			c.caught()
			if who == "catcher" {
				must(t, c.cmd.Process.Kill())
				eventually(t, "its program ends", func() bool { return !alive(program) })
			} else {
				must(t, unix.Kill(program, unix.SIGKILL))
				contains(t, c.next("failed").str("text"), "the eBPF program ended by itself (signal: killed)")
			}
			unloaded(t, id)
			isNeverStopped(t, path, "exit", "0")
			unmoved(t, p.pid(), p.out)
			cont(t, p.pid())
			if got := p.status().ExitStatus(); got != 0 {
				t.Errorf("exit status %d", got)
			}
		})
	}
	t.Run("under way", func(t *testing.T) { // while others are executed as fast as they can
		path, name := ownProgram(t, probe(t))
		for range trials(10) {
			c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}})
			id := c.inKernel()
			for range rand.IntN(5) {
				p := start(t, nil, path, "exit", "0")
				endWithTest(t, p.pid())
			}
			must(t, c.cmd.Process.Kill())
			unloaded(t, id)
			isNeverStopped(t, path, "exit", "0")
		}
	})
}

// When Stop returns nothing is stopped any more, and all that is stopped is told.
func TestEBPFStops(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}})
	id := c.inKernel()
	var parents sync.WaitGroup
	var mu sync.Mutex
	held, told, done := map[int]bool{}, map[int]bool{}, make(chan struct{})
	for range 4 {
		parents.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				p, status := startStopped(t, path, "exit")
				if !status.Stopped() {
					continue
				}
				endWithTest(t, p.Pid)
				mu.Lock()
				held[p.Pid] = true
				mu.Unlock()
			}
		})
	}
	told[c.caught()] = true
	must(t, c.cmd.Process.Signal(unix.SIGTERM)) // in the middle of it
	for {
		if line, ok := c.out.at(c.told); !ok || !strings.Contains(line, `"caught"`) {
			break
		}
		told[c.caught()] = true
	}
	c.ends()
	unloaded(t, id)
	isNeverStopped(t, path, "exit")
	close(done)
	parents.Wait()
	if !maps.Equal(held, told) {
		t.Errorf("held %v, told %v", held, told)
	}
}

func TestEBPFTwoCatchers(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	other, otherName := ownProgram(t, probe(t))
	a := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 1})
	b := catching(t, nscatch.Options{Match: nscatch.Match{Exe: path}, Count: 1})
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: otherName}, Count: 1})
	p, q := start(t, nil, path, "exit", "0"), start(t, nil, other, "exit", "0")
	for catcher, want := range map[*byEBPF]*process{a: p, b: p, c: q} {
		if got := catcher.caught(); got != want.pid() {
			t.Errorf("process %d is caught, not %d", got, want.pid())
		}
		unmoved(t, want.pid(), want.out)
		catcher.ends()
	}
	cont(t, p.pid()) // both
	cont(t, q.pid())
	if p.status().ExitStatus()+q.status().ExitStatus() != 0 {
		t.Error("they did not end well")
	}
}

// A catcher in a container: pids are those of its namespace, and what it does not see is not stopped.
func TestEBPFInAPIDNamespace(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}}, "unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private", "--mount-proc")
	isNeverStopped(t, path, "exit", "0")
	ns := children(t, c.pid())[0]
	endWithTest(t, ns)
	p := start(t, nil, "nsenter", "-t", strconv.Itoa(ns), "--pid", "--mount", path, "exit", "0")
	inside := c.next("caught").num("pid")
	child := children(t, p.pid())[0]
	st, err := procfs.ReadStatus(child)
	must(t, err)
	if st.NSpid != inside {
		t.Errorf("process %d is caught, not %d", inside, st.NSpid)
	}
	unmoved(t, child, p.out)
	eventually(t, "nsenter stops as its child", func() bool { return state(t, p.pid()) == "T" })
	cont(t, p.pid()) // which resumes the child
	if got := p.status().ExitStatus(); got != 0 {
		t.Errorf("exit status %d", got)
	}
}

// One that is killed before it can be told is told as lost, and counts.
func TestEBPFLost(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 2})
	must(t, c.cmd.Process.Signal(unix.SIGSTOP))
	eventually(t, "the catcher cannot look", func() bool { return state(t, c.pid()) == "T" })
	p := start(t, nil, path, "exit", "0")
	eventually(t, "it is stopped", func() bool { return state(t, p.pid()) == "T" })
	must(t, p.cmd.Process.Kill())
	p.status()
	must(t, c.cmd.Process.Signal(unix.SIGCONT))
	contains(t, c.next("lost").str("text"), fmt.Sprintf("process %d ended before its first instruction", p.pid()))
	p = start(t, nil, path, "exit", "0")
	unmoved(t, c.caught(), p.out)
	cont(t, p.pid())
	c.ends()
}

// What is stopped is told, also when the wait for it is over at that moment: nobody else knows of it.
func TestEBPFTellsWhoNoLongerWaits(t *testing.T) {
	path, name := ownProgram(t, probe(t))
	options, err := json.Marshal(nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 1})
	must(t, err)
	c := &byEBPF{process: start(t, nil, fixture(t, "bin/test/catcher"), string(options), "hurried")}
	c.next("ready")
	p := start(t, nil, path, "exit", "0")
	unmoved(t, c.caught(), p.out)
	cont(t, p.pid())
	c.ends()
}

// Others may have it before the catcher looks.
func TestEBPFLostToOthers(t *testing.T) {
	runtime.LockOSThread() // the tracer
	defer runtime.UnlockOSThread()
	path, name := ownProgram(t, probe(t))
	for says, others := range map[string]func(pid int){
		"was let run by somebody": func(pid int) { cont(t, pid) },
		"is already traced by somebody": func(pid int) {
			must(t, unix.PtraceSeize(pid))
			eventually(t, "it is traced", func() bool { return state(t, pid) == "t" })
		},
	} {
		c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}, Count: 1})
		must(t, c.cmd.Process.Signal(unix.SIGSTOP))
		eventually(t, "the catcher cannot look", func() bool { return state(t, c.pid()) == "T" })
		p := start(t, nil, path)
		eventually(t, "it is stopped", func() bool { return state(t, p.pid()) == "T" })
		others(p.pid())
		must(t, c.cmd.Process.Signal(unix.SIGCONT))
		contains(t, c.next("lost").str("text"), fmt.Sprintf("process %d %s", p.pid(), says))
		c.ends()
	}
}

// Refusals are one line with the capability, or whatever it is, and tell whether another method may do.
func TestEBPFRefused(t *testing.T) {
	_, name := ownProgram(t, probe(t))
	without := func(caps string) []string { return []string{"setpriv", "--bounding-set", caps, "--inh-caps", "-all"} }
	for what, c := range map[string]struct {
		by   []string
		says []string
	}{
		"no capability":  {without("-all"), []string{"eBPF needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, which this process lacks: "}},
		"no CAP_PERFMON": {without("-all,+bpf"), []string{"eBPF needs CAP_PERFMON, or CAP_SYS_ADMIN, which this process lacks: "}},
		"no CAP_BPF":     {without("-all,+perfmon"), []string{"eBPF needs CAP_BPF, or CAP_SYS_ADMIN, which this process lacks: "}},
		"user namespace": {[]string{"unshare", "--user", "--map-root-user"}, []string{"initial user namespace"}},
		"seccomp":        {[]string{fixture(t, "bin/test/deny"), "1", strconv.Itoa(unix.SYS_BPF)}, []string{"a seccomp filter refuses bpf(2)"}},
		"seccomp ENOSYS": {[]string{fixture(t, "bin/test/deny"), "38", strconv.Itoa(unix.SYS_BPF)}, []string{"a seccomp filter refuses bpf(2)"}},
	} {
		t.Run(what, func(t *testing.T) {
			k := openCatcher(t, nscatch.Options{Match: nscatch.Match{Comm: name}}, c.by...)
			e := k.next("failed")
			contains(t, e.str("text"), c.says...)
			lacks(t, e.str("text"), "\n")
			if e["not_permitted"] != true {
				t.Errorf("%v", e)
			}
		})
	}
	for _, by := range [][]string{without("-all,+bpf,+perfmon"), without("-all,+sys_admin")} {
		path, name := ownProgram(t, probe(t))
		c := catching(t, nscatch.Options{Match: nscatch.Match{Comm: name}}, by...)
		p := start(t, nil, path, "exit", "0")
		unmoved(t, c.caught(), p.out)
		cont(t, p.pid())
	}
}

// What was never there cannot be asked for.
func TestEBPFOptions(t *testing.T) {
	for says, o := range map[string]nscatch.Options{
		"nothing says what to catch":      {},
		"is no absolute path":             {Match: nscatch.Match{Exe: "envoy"}},
		"has 33 components: at most 32":   {Match: nscatch.Match{Exe: strings.Repeat("/d", 33)}},
		"has a component of 256 bytes":    {Match: nscatch.Match{Exe: "/" + strings.Repeat("d", 256)}},
		"is no uid of a pod":              {Match: nscatch.Match{Comm: "x", PodUID: "x"}},
		"skip and count are not negative": {Match: nscatch.Match{Comm: "x"}, Skip: -1},
	} {
		contains(t, openCatcher(t, o).next("failed").str("text"), says)
	}
}
