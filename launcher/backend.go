//go:build linux

package launcher

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/carried"
)

// A backend is an external debug server: where it is found, how it is started on
// a process with one connection, and how it numbers signals.
type backend struct {
	serves   protocol
	variable string // the setting that names it
	setting  func(Settings) string
	names    func() []string // candidates on PATH and in LibDir, best first
	install  string
	command  func(path string, pid int, conn *os.File) *exec.Cmd
	sigstop  string // SIGSTOP in its stop replies, two hex digits
	// interrupts: an interrupt byte stops the process. gdbserver sends SIGINT to the
	// process group of that number, which does not exist when the process leads
	// none, as a child of pilot-agent; then SIGINT is for us to send.
	interrupts bool
	// dropsSignal: a detach loses the signal that the process was stopped at. Its
	// stop replies then use the host's numbers.
	dropsSignal bool
	// wakesOnDetach: a detach sends SIGCONT, which would undo a SIGSTOP queued before.
	wakesOnDetach bool
}

var backends = []backend{gdbserver, lldbServer}

// findServer returns the path of the external debug server that the mode needs, "" for none.
func findServer(s Settings) (string, error) {
	for _, b := range backends {
		if string(s.Mode) != string(b.serves) {
			continue
		}
		path, err := b.find(s)
		if err != nil {
			return "", fmt.Errorf("%w: %w", errNotFound, err)
		}
		return path, nil
	}
	return "", nil
}

// serves tells why a client is not served in this mode, if so.
func (s *supervisor) serves(p protocol) error {
	rsp := p == gdbProtocol || p == lldbProtocol
	switch {
	case s.status.Crash != nil && rsp: // by the watch, in every mode
		return nil
	case s.status.Crash != nil && s.delves(p):
		return fmt.Errorf("process %d is held at %s, which a Delve that attaches would lose; use gdb, or lldb's gdb-remote", s.known.PID, s.status.Crash.Signal)
	case s.delves(p) && !carried.Carried():
		return carried.ErrNot
	case s.ownServer() && rsp, s.delves(p), string(s.Mode) == string(p):
		return nil
	case s.ownServer() && p == dapProtocol:
		_, err := findLLDBDAP()
		return err
	case s.Mode == LLDBPlatform && p == lldbProtocol:
		return nil
	case s.Mode == LLDBPlatform:
		return fmt.Errorf("this is %s, and %s serves lldb only; set %s", p, s.naming.set("ENVOYSHIM_MODE", s.Mode), s.naming.set("ENVOYSHIM_MODE", Debug))
	}
	return fmt.Errorf("this is %s, and %s serves %s only; set %s", p, s.naming.set("ENVOYSHIM_MODE", s.Mode), s.Mode, s.naming.set("ENVOYSHIM_MODE", Debug))
}

// ownServer reports that the embedded debug server serves. In mode off that is after a crash, or before one.
func (s *supervisor) ownServer() bool { return s.Mode.servesAll() || s.Mode == Off }

func backendFor(p protocol) backend {
	i := slices.IndexFunc(backends, func(b backend) bool { return b.serves == p })
	return backends[i]
}

// find returns the server that the setting names, else the first candidate on
// PATH, else in LibDir.
func (b backend) find(s Settings) (string, error) {
	if path := b.setting(s); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("%s=%q: %w; name an executable file", s.Naming.name(b.variable), path, err)
		}
		return found, nil
	}
	path, err := findProgram(b.names())
	if err != nil {
		return "", fmt.Errorf("%w: %s, or set %s", err, b.install, s.Naming.name(b.variable))
	}
	return path, nil
}

// findProgram returns the first of the names that is on PATH, else in LibDir.
func findProgram(names []string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	for _, name := range names {
		if path, err := exec.LookPath(filepath.Join(LibDir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("no %s on PATH or in %s", names[0], LibDir)
}

var gdbserver = backend{
	serves:   gdbProtocol,
	variable: "ENVOYSHIM_GDBSERVER",
	setting:  func(s Settings) string { return s.GDBServer },
	names:    func() []string { return []string{"gdbserver"} },
	install:  "install gdbserver",
	command: func(path string, pid int, conn *os.File) *exec.Cmd {
		cmd := exec.Command(path, "--once", "--attach", "-", strconv.Itoa(pid))
		cmd.Stdin, cmd.Stdout = conn, conn
		return cmd
	},
	sigstop: "11", // GDB_SIGNAL_STOP (gdb/signals.def)
}

var lldbServer = backend{
	serves:   lldbProtocol,
	variable: "ENVOYSHIM_LLDB_SERVER",
	setting:  func(s Settings) string { return s.LLDBServer },
	names:    func() []string { return versioned("lldb-server") },
	install:  "install lldb",
	command: func(path string, pid int, conn *os.File) *exec.Cmd {
		cmd := exec.Command(path, "gdbserver", "--fd", "3", "--attach", strconv.Itoa(pid))
		cmd.ExtraFiles = []*os.File{conn}
		return cmd
	},
	sigstop:       fmt.Sprintf("%02x", int(unix.SIGSTOP)),
	interrupts:    true,
	dropsSignal:   true,
	wakesOnDetach: true,
}

// versioned returns name, then name-N as found on PATH and in LibDir, newest first.
func versioned(name string) []string {
	versions := map[int]bool{}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), LibDir) {
		matches, _ := filepath.Glob(filepath.Join(dir, name+"-*"))
		for _, m := range matches {
			if v, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(m), name+"-")); err == nil {
				versions[v] = true
			}
		}
	}
	names := []string{name}
	numbers := make([]int, 0, len(versions))
	for v := range versions {
		numbers = append(numbers, v)
	}
	slices.Sort(numbers)
	for _, v := range slices.Backward(numbers) {
		names = append(names, fmt.Sprintf("%s-%d", name, v))
	}
	return names
}
