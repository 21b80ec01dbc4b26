package test

import (
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type finding struct{ Verdict, Layer, Found, Cure string }

// patient is a container and the environment of a shim, for doctor to examine.
type patient struct {
	container
	env  []string
	with []string // what doctor is started by
}

// healthy is a patient with nothing wrong, but with more set in its environment.
func healthy(t testing.TB, env ...string) patient {
	t.Helper()
	return patient{container: emptyContainer(t), env: append(shimEnv("gdb", asEnvoy(t, probe(t))), env...)}
}

// doctor runs envoyshim doctor with both outputs and returns the findings and the exit
// status.
func (p patient) doctor() ([]finding, int) {
	p.t.Helper()
	run := func(args ...string) result {
		argv := append(append([]string{"/usr/bin/env"}, p.env...), p.with...)
		return finish(p.t, p.as(1337, append(append(argv, p.cli, "doctor"), args...)...)...)
	}
	asJSON, table := run("--json"), run()
	var raw []map[string]string
	var all []finding
	err := json.Unmarshal([]byte(asJSON.stdout), &raw)
	if err == nil {
		err = json.Unmarshal([]byte(asJSON.stdout), &all)
	}
	if err != nil || asJSON.stderr != "" || table.stderr != "" {
		p.t.Fatalf("%v: %+v %+v", err, asJSON, table)
	}
	if table.code != asJSON.code {
		p.t.Fatalf("exit status %d, with --json %d", table.code, asJSON.code)
	}
	lines := strings.Split(table.stdout, "\n")
	if len(lines) != len(all) {
		p.t.Fatalf("%d findings in JSON and\n%s", len(all), table.stdout)
	}
	for i, f := range all {
		for key := range raw[i] {
			if key != "verdict" && key != "layer" && key != "found" && (key != "cure" || f.Cure == "") {
				p.t.Errorf("JSON has %q: %v", key, raw[i])
			}
		}
		contains(p.t, lines[i], f.Verdict, f.Layer)
		if f.Cure != "" {
			contains(p.t, lines[i], "cure: "+f.Cure)
		}
	}
	return all, asJSON.code
}

// isOK fails the test unless nothing is blocked and the layer is in order.
func (p patient) isOK(layer, found string) {
	p.t.Helper()
	all, code := p.doctor()
	seen := false
	for _, f := range all {
		if f.Layer == layer && f.Verdict == "ok" && strings.Contains(f.Found, found) {
			seen = true
		}
		if f.Verdict == "blocked" {
			p.t.Errorf("blocked: %+v", f)
		}
	}
	if !seen || code != 0 {
		p.t.Fatalf("exit status %d, %s is not %q: %+v", code, layer, found, all)
	}
}

// isBlocked fails the test unless doctor exits with 1 and blocks by the layer, and perhaps
// by the others but by no more, with what it found and a cure.
func (p patient) isBlocked(layer, found, cure string, others ...string) {
	p.t.Helper()
	all, code := p.doctor()
	seen := false
	for _, f := range all {
		if f.Layer == layer {
			seen = true
			if f.Verdict != "blocked" || !strings.Contains(f.Found, found) || !strings.Contains(f.Cure, cure) {
				p.t.Errorf("not blocked by %q with the cure %q: %+v", found, cure, f)
			}
		} else if f.Verdict == "blocked" && !slices.Contains(others, f.Layer) {
			p.t.Errorf("blocked as well: %+v", f)
		}
	}
	if !seen || code != 1 {
		p.t.Fatalf("exit status %d: %+v", code, all)
	}
}

func TestDoctorOfAHealthyPod(t *testing.T) {
	for _, mode := range []string{"off", "pause", "gdb", "lldb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			p := healthy(t, "ENVOYSHIM_MODE="+mode)
			all, code := p.doctor()
			for _, f := range all {
				if f.Verdict != "ok" || f.Found == "" || f.Cure != "" {
					t.Errorf("%+v", f)
				}
			}
			if code != 0 {
				t.Errorf("exit status %d", code)
			}
		})
	}
}

func TestDoctorFindsWhatIsWrongWithTheELF(t *testing.T) {
	for name, c := range map[string]struct {
		spoil       func(t *testing.T, path string)
		found, cure string
	}{
		"missing":    {func(t *testing.T, path string) { must(t, os.Remove(path)) }, "no such file", "ENVOYSHIM_REAL"},
		"directory":  {func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o755)) }, "directory", "ENVOYSHIM_REAL"},
		"script":     {func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755)) }, "not an ELF file", "ENVOYSHIM_REAL"},
		"foreign":    {func(t *testing.T, path string) { setMachine(t, path, elf.EM_S390) }, "not for this machine", "ENVOYSHIM_REAL"},
		"unreadable": {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o711)) }, "permission denied", "chmod a+r"},
		"unrunnable": {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) }, "cannot be executed", "chmod 755"},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy(t)
			real := asEnvoy(t, probe(t))
			c.spoil(t, real)
			p.env = append(p.env, "ENVOYSHIM_REAL="+real)
			p.isBlocked("real elf", c.found, c.cure)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// setMachine makes the ELF file one for another machine.
func setMachine(t testing.TB, path string, m elf.Machine) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	binary.NativeEndian.PutUint16(b[18:], uint16(m)) // e_machine (elf(5))
	must(t, os.WriteFile(path, b, 0o755))
}

// File capabilities block where they take effect: without no_new_privs.
func TestDoctorFindsFileCapabilities(t *testing.T) {
	p := healthy(t)
	real := asEnvoy(t, probe(t))
	// struct vfs_cap_data of linux/capability.h: revision 2, effective; permitted:
	// cap_net_bind_service.
	xattr := make([]byte, 20)
	binary.LittleEndian.PutUint32(xattr, 0x02000001)
	binary.LittleEndian.PutUint32(xattr[4:], 1<<unix.CAP_NET_BIND_SERVICE)
	must(t, unix.Setxattr(real, "security.capability", xattr, 0))
	p.env = append(p.env, "ENVOYSHIM_REAL="+real)
	p.isOK("real elf", real)
	privileged := finish(t, p.root(append(append([]string{"setpriv", "--reuid", "1337", "--regid", "1337", "--clear-groups", "--", "env"}, p.env...), p.cli, "doctor")...)...)
	contains(t, privileged.stdout, "blocked", "real elf", "file capabilities", "cure: setcap -r "+real)
	if privileged.code != 1 {
		t.Fatalf("exit status %d", privileged.code)
	}
}

func TestDoctorFindsAWrongVariable(t *testing.T) {
	healthy(t, "ENVOYSHIM_HOLD_TIMEOUT=soon").isBlocked("settings", `ENVOYSHIM_HOLD_TIMEOUT="soon"`, "correct the variable")
	healthy(t, "ENVOYSHIM_MODE=gbd").isBlocked("settings", "did you mean gdb?", "correct the variable")
	healthy(t, "ENVOYSHIM_LISTEN=0.0.0.0:2159").isBlocked("settings", "a debug port has no authentication", "correct the variable")
	all, code := healthy(t, "ENVOYSHIM_MODUS=gdb").doctor()
	if all[0].Verdict != "warn" || all[0].Layer != "settings" || !strings.Contains(all[0].Found, "did you mean ENVOYSHIM_MODE?") || code != 0 {
		t.Fatalf("exit status %d: %+v", code, all[0])
	}
}

func TestDoctorFindsWhoHasThePort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	p := healthy(t, "ENVOYSHIM_LISTEN="+l.Addr().String())
	p.isBlocked("port", l.Addr().String(), "ENVOYSHIM_LISTEN")

	p = healthy(t)
	s, pid := p.hold("gdb", asEnvoy(t, probe(t)))
	p.env = append(p.env, "ENVOYSHIM_LISTEN="+s.port)
	p.isOK("port", fmt.Sprintf("the debug port of process %d", pid))
}

func TestDoctorFindsAMissingDebugServer(t *testing.T) {
	nothing := "PATH=" + sharedDir(t)
	healthy(t, nothing).isBlocked("gdbserver", "no gdbserver on PATH", "install gdbserver")
	healthy(t, nothing, "ENVOYSHIM_MODE=lldb").isBlocked("lldb-server", "no lldb-server on PATH", "install lldb")
	healthy(t, nothing, "ENVOYSHIM_MODE=pause").isOK("settings", "mode pause")
	healthy(t, nothing, "ENVOYSHIM_MODE=debug").isOK("gdbserver", "envoyshim itself is the debug server")
	for _, mode := range []string{"off", "pause", "dlv"} {
		p := healthy(t, nothing, "ENVOYSHIM_MODE="+mode)
		p.isOK("gdbserver", "not needed in mode "+mode)
		p.isOK("lldb-server", "not needed in mode "+mode)
	}
	gdbserver, err := exec.LookPath("gdbserver")
	must(t, err)
	healthy(t, nothing, "ENVOYSHIM_GDBSERVER="+gdbserver).isOK("lldb-server", "not needed in mode gdb")
	healthy(t, nothing, "ENVOYSHIM_MODE=lldb-platform").isOK("lldb-server", "envoyshim itself is the debug server in mode lldb-platform")
}

func TestDoctorFindsADebugServerThatDoesNotStart(t *testing.T) {
	broken := filepath.Join(sharedDir(t), "gdbserver")
	must(t, os.WriteFile(broken, []byte("#!/bin/sh\necho libmissing.so: cannot open >&2\nexit 127\n"), 0o755))
	healthy(t, "ENVOYSHIM_GDBSERVER="+broken).isBlocked("gdbserver", "libmissing.so: cannot open", "reinstall")
	healthy(t, "ENVOYSHIM_GDBSERVER=/nonexistent/gdbserver").isBlocked("gdbserver", "/nonexistent/gdbserver", "gdbserver")
}

// A seccomp filter that refuses ptrace is named, as what refuses and as what to change.
func TestDoctorFindsSeccomp(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EPERM, unix.ENOSYS} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			p := healthy(t)
			deny := filepath.Join(sharedDir(t), "deny")
			copyFile(t, fixture(t, "bin/test/deny"), deny)
			p.with = []string{deny, strconv.Itoa(int(errno)), strconv.Itoa(unix.SYS_PTRACE)}
			p.isBlocked("ptrace", "", "", "seccomp")
			p.isBlocked("seccomp", "ptrace", "seccompProfile", "ptrace")
			all, _ := p.doctor()
			for _, f := range all {
				lacks(t, f.Found, "`envoyshim doctor`") // this is doctor
			}
		})
	}
}

func TestDoctorFindsAnotherTracer(t *testing.T) {
	for name, attach := range map[string]func(p patient, pid int){
		"gdb": func(p patient, pid int) { ownDebugger(t, p.container, pid) },
		"strace": func(p patient, pid int) {
			start(t, nil, p.as(1337, "strace", "-p", strconv.Itoa(pid))...).err.await(t, "attached")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := healthy(t, "ENVOYSHIM_MODE=pause")
			_, pid := p.hold("pause", asEnvoy(t, probe(t)))
			p.isOK("tracer", "no other debugger")
			attach(p, pid)
			p.isBlocked("tracer", fmt.Sprintf("process %d is traced by process", pid), "end that debugger")
			all, _ := p.doctor()
			for _, f := range all {
				if f.Layer == "tracer" {
					contains(t, f.Found, "("+name+")")
				}
			}
		})
	}
}
