//go:build linux

package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/diagnosis"
	"github.com/envoyshim/envoyshim/internal/early"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe/sample"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tlsport"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// Doctor examines what stands between a debugger and the program that the environment's
// settings name. Where a thing can be tried it is tried.
func Doctor() []diagnosis.Finding {
	vars := FromEnvironment()
	name := "envoy"
	if targets := vars.Targets(); len(targets) > 0 {
		name = targets[0]
	}
	settings, wrong := vars.For(name)
	d := doctor{name: name, vars: vars, settings: settings}
	d.checkSettings(wrong)
	d.checkPtrace()
	d.checkYama()
	d.checkSeccomp()
	d.findings = append(d.findings, sample.Check())
	d.checkPrivileges()
	d.checkReal()
	d.checkTracer()
	d.checkServers()
	d.checkPort()
	d.checkTLS()
	d.checkMemory()
	d.checkProcesses()
	return d.findings
}

type doctor struct {
	name     string
	vars     Variables
	settings Settings
	findings []diagnosis.Finding
	refused  bool // ptrace
}

func (d *doctor) ok(layer, found string) { d.add(diagnosis.OK, layer, found, "") }

func (d *doctor) add(v diagnosis.Verdict, layer, found, cure string) {
	d.findings = append(d.findings, diagnosis.Finding{Verdict: v, Layer: layer, Found: found, Cure: cure})
}

func (d *doctor) checkSettings(wrong error) {
	unknown := UnknownVariables(os.Environ())
	switch {
	case wrong != nil:
		d.add(diagnosis.Blocked, "settings", wrong.Error(), "correct the variable in the pod's spec")
	case len(unknown) > 0:
		d.add(diagnosis.Warn, "settings", strings.Join(unknown, "; "), "correct or remove the variable")
	case d.settings.Mode == Off:
		d.ok("settings", "mode off for "+d.name+": nothing is held until ENVOYSHIM_MODE is set")
	default:
		d.ok("settings", fmt.Sprintf("mode %s for %s", d.settings.Mode, d.name))
	}
}

// checkPtrace holds a process as the shim would. Tracing a child of one's own would prove
// nothing under Yama.
func (d *doctor) checkPtrace() {
	if err := rehearse(); err != nil {
		d.refused = true
		d.add(diagnosis.Blocked, "ptrace", fmt.Sprintf("a process cannot be held: %v", err), "see the lines below for the layer that refuses")
		return
	}
	d.ok("ptrace", "tried: a process was held before its first instruction")
}

// RehearseCommand is the hidden command whose process [Rehearse] holds.
const RehearseCommand = "rehearse"

// rehearse starts envoyshim itself on hold, and ends it there.
func rehearse() error {
	said, line, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	p, err := os.StartProcess(early.ExecFn(), []string{"envoyshim", RehearseCommand}, &os.ProcAttr{Files: []*os.File{nil, nil, line}})
	_ = line.Close()
	if err != nil {
		return err
	}
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(p.Pid, &status, unix.WUNTRACED, nil); err != unix.EINTR {
			break
		}
	}
	if err != nil || status.Stopped() {
		_ = p.Kill()
		_, _ = p.Wait()
		return err
	}
	why, err := io.ReadAll(io.LimitReader(said, 4096))
	if err != nil {
		return err
	}
	return errors.New(strings.TrimPrefix(strings.TrimSpace(string(why)), "envoyshim: "))
}

// Rehearse holds the shim as any other, on its way to this program's --version, which it never
// reaches. What is in the way is the one line on stderr.
func Rehearse(shim *early.Shim) {
	l := &launch{
		shim: shim,
		real: fmt.Sprintf("/proc/%d/exe", shim.PID),
		argv: []string{"envoyshim", "--version"},
		log:  newLogger(zerolog.ErrorLevel, false),
	}
	if ordered, _, err := l.execHeld(false); err != nil && !ordered {
		fmt.Fprintln(os.Stderr, "envoyshim:", err)
		shim.Exit(1)
	}
}

func (d *doctor) checkYama() {
	switch scope := tracee.YamaScope(); {
	case scope == 0:
		d.ok("yama", "kernel.yama.ptrace_scope is 0, or the kernel has no Yama")
	case scope == 1:
		d.ok("yama", "kernel.yama.ptrace_scope=1: the supervisor is allowed by PR_SET_PTRACER")
	case scope == 2 && !d.refused:
		d.ok("yama", "kernel.yama.ptrace_scope=2 allows CAP_SYS_PTRACE, which is there")
	case scope == 2:
		d.add(diagnosis.Blocked, "yama", "kernel.yama.ptrace_scope=2 refuses ptrace without CAP_SYS_PTRACE", "set kernel.yama.ptrace_scope to 1 on the node, or add CAP_SYS_PTRACE")
	default:
		d.add(diagnosis.Blocked, "yama", fmt.Sprintf("kernel.yama.ptrace_scope=%d refuses ptrace until the node reboots", scope), "set kernel.yama.ptrace_scope to 1 where the node's boot sets it, and reboot")
	}
}

func (d *doctor) checkSeccomp() {
	st, err := procfs.ReadStatus(os.Getpid())
	switch {
	case err != nil:
		d.add(diagnosis.Warn, "seccomp", err.Error(), "")
	case st.Seccomp == 0:
		d.ok("seccomp", "no filter")
	case d.refused && tracee.YamaScope() < 2:
		d.add(diagnosis.Blocked, "seccomp", "a filter is on, and ptrace is refused", "use seccompProfile RuntimeDefault on Linux 4.8 or newer, or a profile that allows ptrace")
	default:
		d.ok("seccomp", "a filter is on; whether it allows ptrace is tried above")
	}
}

func (d *doctor) checkPrivileges() {
	st, err := procfs.ReadStatus(os.Getpid())
	if err != nil {
		d.add(diagnosis.Warn, "privileges", err.Error(), "")
		return
	}
	caps := "no capabilities"
	if st.CapEff != 0 {
		caps = fmt.Sprintf("capabilities %#x", st.CapEff)
	}
	nnp := "no_new_privs off"
	if st.NoNewPriv {
		nnp = "no_new_privs on"
	}
	needed := "; none are needed"
	if tracee.YamaScope() == 2 {
		needed = ""
	}
	d.ok("privileges", fmt.Sprintf("uid %d, %s, %s%s", os.Geteuid(), caps, nnp, needed))
}

func (d *doctor) checkReal() {
	path, err := FindReal(d.name, d.vars.Real)
	if err != nil {
		d.add(diagnosis.Blocked, "real elf", err.Error(), "install the real ELF there")
		return
	}
	if _, err := holdable(path); err != nil {
		d.add(diagnosis.Blocked, "real elf", err.Error(), "name an ELF of this machine by ENVOYSHIM_REAL")
		return
	}
	if unix.Access(path, unix.X_OK) != nil {
		d.add(diagnosis.Blocked, "real elf", path+" cannot be executed by this uid", "chmod 755 "+path+" in the image")
		return
	}
	info, err := elfinfo.Read(path)
	if err != nil {
		// proc_pid_mem(5), prctl(2) PR_SET_DUMPABLE: an unreadable program is not dumpable.
		d.add(diagnosis.Blocked, "real elf", fmt.Sprintf("%v: the kernel lets nobody but root trace a program that its user may not read", err), "chmod a+r "+path+" in the image")
		return
	}
	if size, err := unix.Getxattr(path, "security.capability", nil); err == nil && size > 0 {
		if st, _ := procfs.ReadStatus(os.Getpid()); !st.NoNewPriv {
			d.add(diagnosis.Blocked, "real elf", path+" has file capabilities, which raise it above its tracer", "setcap -r "+path+" in the image, or allowPrivilegeEscalation: false")
			return
		}
	}
	what := string(info.Kind)
	if info.Go {
		what += " Go"
	}
	debug := "stripped"
	if info.Debug {
		debug = "with debug information"
	} else if info.Symbols {
		debug = "with symbols, without debug information"
	}
	d.ok("real elf", fmt.Sprintf("%s: %s, %s, %s, build-id %s", path, what, strings.TrimPrefix(info.Machine.String(), "EM_"), debug, orNone(info.BuildID)))
}

// checkTracer looks for a debugger that is not ours on a process that envoyshim
// knows.
func (d *doctor) checkTracer() {
	found, err := Find(0)
	if err != nil {
		d.add(diagnosis.Warn, "tracer", err.Error(), "")
		return
	}
	for _, st := range found {
		if st.Tracer != 0 {
			d.add(diagnosis.Blocked, "tracer", fmt.Sprintf("process %d is traced by process %d (%s)", st.PID, st.Tracer, procfs.Comm(st.Tracer)), "end that debugger: a process has one tracer")
			return
		}
	}
	d.ok("tracer", fmt.Sprintf("no other debugger on the %d processes under envoyshim", len(found)))
}

// checkServers looks for the external debug servers. One that the mode does not start is worth a warning only where a setting names it.
func (d *doctor) checkServers() {
	for _, b := range backends {
		layer := b.names()[0]
		if d.settings.Mode.servesItself() {
			d.ok(layer, fmt.Sprintf("not needed: envoyshim itself is the debug server in mode %s", d.settings.Mode))
			continue
		}
		verdict, needed := diagnosis.Warn, string(d.settings.Mode) == string(b.serves)
		if needed {
			verdict = diagnosis.Blocked
		}
		path, err := b.find(d.settings)
		if err != nil && !needed && b.setting(d.settings) == "" {
			d.ok(layer, fmt.Sprintf("not there, and not needed in mode %s", d.settings.Mode))
			continue
		}
		if err != nil {
			d.add(verdict, layer, err.Error(), fmt.Sprintf("%s in the image", b.install))
			continue
		}
		version, err := serverVersion(path)
		if err != nil {
			d.add(verdict, layer, fmt.Sprintf("%s does not start: %v", path, err), "reinstall it with its libraries")
			continue
		}
		d.ok(layer, path+": "+version)
	}
}

// startTime is longer than any healthy program takes to tell its version.
const startTime = 20 * time.Second

// serverVersion runs the server: a missing library shows only then.
func serverVersion(path string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	arg := "--version"
	if strings.Contains(filepath.Base(path), "lldb-server") {
		arg = "version"
	}
	out, err := exec.CommandContext(ctx, path, arg).CombinedOutput()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, first)
	}
	return first, nil
}

func (d *doctor) checkPort() {
	if d.settings.Mode == Pause {
		d.ok("port", "mode pause opens none")
		return
	}
	if d.settings.Listen == "" {
		return // the settings line says why
	}
	l, err := openPort(d.settings.Listen, AsVariables)
	if err == nil {
		_ = l.Close()
		d.ok("port", d.settings.Listen+" is free")
		return
	}
	found, _ := Find(0)
	for _, st := range found {
		if st.Listen == d.settings.Listen {
			d.ok("port", fmt.Sprintf("%s is the debug port of process %d", st.Listen, st.PID))
			return
		}
	}
	d.add(diagnosis.Blocked, "port", err.Error(), "set ENVOYSHIM_LISTEN to a free port")
}

func (d *doctor) checkTLS() {
	dir := d.settings.TLSDir
	if dir == "" || d.settings.Mode == Pause {
		return
	}
	t, err := tlsport.Start(dir, fips(os.Getpid()), io.Discard)
	if err != nil {
		d.add(diagnosis.Blocked, "tls", err.Error(), "mend what ENVOYSHIM_TLS_DIR names")
		return
	}
	t.Close()
	d.ok("tls", "the certificates in "+dir+" can be used")
}

// wantMemory is room for a debug server beside Envoy.
const wantMemory = 128 << 20

func (d *doctor) checkMemory() {
	limit, used, ok := cgroupMemory()
	switch {
	case !ok:
		d.ok("memory", "no limit of this cgroup")
	case limit-min(limit, used) < wantMemory:
		d.add(diagnosis.Warn, "memory", fmt.Sprintf("%d MB of %d MB are left; a debug server may be killed for lack of memory", (limit-min(limit, used))>>20, limit>>20), "raise the container's memory limit (sidecar.istio.io/proxyMemoryLimit)")
	default:
		d.ok("memory", fmt.Sprintf("%d MB of %d MB are left", (limit-used)>>20, limit>>20))
	}
}

// cgroupMemory reads limit and use in bytes as a container sees them, of cgroup v2
// or v1 (Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst). Page cache that
// the kernel would drop first (inactive_file) is not counted as used.
func cgroupMemory() (limit, used uint64, ok bool) {
	for _, files := range []struct{ limit, used, stat, cache string }{
		{"memory.max", "memory.current", "memory.stat", "inactive_file "},
		{"memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file "},
	} {
		const root = "/sys/fs/cgroup/"
		limit, err1 := readNumber(root + files.limit)
		used, err2 := readNumber(root + files.used)
		if err1 != nil || err2 != nil || limit >= 1<<60 {
			continue
		}
		stat, _ := os.ReadFile(root + files.stat)
		for line := range strings.Lines(string(stat)) {
			if value, found := strings.CutPrefix(line, files.cache); found {
				cache, _ := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
				used -= min(used, cache)
			}
		}
		return limit, used, true
	}
	return 0, 0, false
}

func readNumber(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
}

// checkProcesses tells whether the supervisor and a debug server can still be started.
func (d *doctor) checkProcesses() {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &lim); err != nil {
		d.add(diagnosis.Warn, "processes", err.Error(), "")
		return
	}
	pids, err := readNumber("/sys/fs/cgroup/pids.max")
	used, err2 := readNumber("/sys/fs/cgroup/pids.current")
	if err == nil && err2 == nil && pids-min(pids, used) < 32 {
		d.add(diagnosis.Warn, "processes", fmt.Sprintf("%d of %d processes and threads are in use", used, pids), "raise the pods' pid limit on the node (podPidsLimit)")
		return
	}
	d.ok("processes", "tried above: a helper could be started")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
