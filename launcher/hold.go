package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/inherit"
)

// The hidden commands by which this program starts itself as a helper.
const (
	SuperviseCommand = "supervise"
	ProbeCommand     = "probe-tracer"
)

// handshakeTimeout bounds each step between shim and supervisor. Envoy's start waits
// for it, so it only has to be longer than the slowest healthy machine.
const handshakeTimeout = 20 * time.Second

// config is what the shim tells its supervisor.
type config struct {
	PID         int // of the shim, which becomes Envoy
	Name        string
	Real        string
	Mode        Mode
	Listen      string
	Backends    map[dialect]string // path of the debug server for each client spoken to
	HoldTimeout time.Duration
	LogLevel    int8
	LogJSON     bool
	Pod         string // for the kubectl line; "" outside Kubernetes
	Namespace   string
}

// message is one step of the handshake over the socket pair:
//
//	shim                         supervisor
//	Config                  ->
//	                        <-   PID      (port open, control socket open)
//	PR_SET_PTRACER
//	Go                      ->
//	                        <-   Ready    (seized)
//	execve
//
// Either side may send Error instead, or just close.
type message struct {
	Config *config `json:",omitempty"`
	PID    int     `json:",omitempty"`
	Go     bool    `json:",omitempty"`
	Ready  bool    `json:",omitempty"`
	Error  string  `json:",omitempty"`
}

// arrangeHold starts the supervisor and returns when it has seized this process, so
// that the next execve by this thread is held. After an error no supervisor is
// left and the process is as before.
func (l *launch) arrangeHold() error {
	if err := holdable(l.real); err != nil {
		return err
	}
	backends, err := findBackends(l.settings)
	if err != nil {
		return err
	}
	conf := &config{
		PID:         os.Getpid(),
		Name:        l.name,
		Real:        l.real,
		Mode:        l.settings.Mode,
		Listen:      l.settings.Listen,
		Backends:    backends,
		HoldTimeout: l.settings.HoldTimeout,
		LogLevel:    int8(l.settings.LogLevel),
		LogJSON:     l.settings.LogJSON,
		Pod:         os.Getenv("POD_NAME"),
		Namespace:   os.Getenv("POD_NAMESPACE"),
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("create a socket pair: %w", err)
	}
	// Ours stays open until execve closes it; after an error its end tells the supervisor to
	// go.
	ours := handshake{fd: pair[0]}
	err = spawnHelper(SuperviseCommand, pair[1])
	_ = unix.Close(pair[1])
	if err == nil {
		err = askToTrace(ours, conf, l.settings.Mode == Pause)
	}
	if err != nil {
		_ = unix.Close(pair[0])
		_ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0)
	}
	return err
}

// askToTrace is the shim's side of the handshake. anyTracer also allows every other
// process of this uid to trace it: the user's own debugger in mode pause.
func askToTrace(h handshake, conf *config, anyTracer bool) error {
	if err := h.send(message{Config: conf}); err != nil {
		return err
	}
	m, err := h.receive()
	if err != nil {
		return err
	}
	// Under Yama's scope 1 a tracer that is no ancestor needs this (prctl(2)). Without
	// Yama: EINVAL, and not needed.
	tracer := uintptr(m.PID)
	if anyTracer {
		tracer = unix.PR_SET_PTRACER_ANY
	}
	_ = unix.Prctl(unix.PR_SET_PTRACER, tracer, 0, 0, 0)
	if err := h.send(message{Go: true}); err != nil {
		return err
	}
	_, err = h.receive()
	return err
}

// handshake is one end of the socket pair, with deadlines.
type handshake struct{ fd int }

func (h handshake) send(m message) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := unix.Sendto(h.fd, b, unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("the supervisor ended early: %w", err)
	}
	return nil
}

// receive returns the next message; an Error in it, the end of the other side
// and the deadline are errors.
func (h handshake) receive() (message, error) {
	poll := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
	deadline := time.Now().Add(handshakeTimeout)
	for {
		left := max(0, int(time.Until(deadline).Milliseconds()))
		n, err := unix.Poll(poll, left)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return message{}, fmt.Errorf("wait for the supervisor: %w", err)
		}
		if n == 0 {
			return message{}, errors.New("the supervisor did not answer in time")
		}
		break
	}
	buf := make([]byte, 64<<10)
	n, err := unix.Read(h.fd, buf)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return message{}, fmt.Errorf("the supervisor ended early: %w", err)
	}
	var m message
	if err := json.Unmarshal(buf[:n], &m); err != nil {
		return m, fmt.Errorf("read the handshake: %w", err)
	}
	if m.Error != "" {
		return m, errors.New(m.Error)
	}
	return m, nil
}

// spawnHelper starts this program again, with a hidden command, as an orphan that
// holds sock as descriptor 3. Of the environment it gets what debug servers
// need; GOMEMLIMIT, GODEBUG and the like are meant for other programs.
func spawnHelper(command string, sock int) error {
	env := []string{prefix + "SUPERVISOR=1"} // the early entry then goes straight to the runtime
	for _, name := range []string{"PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	path, done := selfNamedEnvoyshim()
	defer done()
	if err := inherit.Spawn(path, []string{"envoyshim", command}, env, sock); err != nil {
		if errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("start the supervisor: %w: the process limit (ulimit -u, or the pod's pids limit) is reached", err)
		}
		return fmt.Errorf("start the supervisor: %w", err)
	}
	return nil
}

// selfNamedEnvoyshim returns a path to this program under which neither its comm nor
// its /proc/PID/exe says "envoy", so that `process attach --name envoy` and pgrep
// find one process only: an installed file named envoyshim that is the same
// file, else a memfd. done releases it after the start.
func selfNamedEnvoyshim() (path string, done func()) {
	const self = "/proc/self/exe"
	none := func() {}
	info, err := os.Stat(self)
	if err != nil {
		return self, none
	}
	here, _ := os.Readlink(self)
	for _, path := range []string{
		here,
		filepath.Join(filepath.Dir(here), "envoyshim"),
		filepath.Join(LibDir, "envoyshim"),
		"/usr/local/bin/envoyshim",
	} {
		// A symbolic link would be followed, and exe would say "envoy" again.
		other, err := os.Lstat(path)
		if err == nil && strings.HasPrefix(filepath.Base(path), "envoyshim") && os.SameFile(info, other) {
			return path, none
		}
	}
	fd, err := memfdCopy(self)
	if err != nil {
		return self, none
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }
}

// memfdCopy copies the file at path into an executable memfd named envoyshim
// (memfd_create(2)). Where vm.memfd_noexec forbids that, it is an error.
func memfdCopy(path string) (int, error) {
	in, err := os.Open(path)
	if err != nil {
		return -1, err
	}
	defer in.Close()
	fd, err := unix.MemfdCreate("envoyshim", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // MFD_EXEC is there since Linux 6.3
		fd, err = unix.MemfdCreate("envoyshim", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return -1, err
	}
	copied := os.NewFile(uintptr(fd), "memfd:envoyshim")
	defer copied.Close()
	if _, err := io.Copy(copied, in); err != nil {
		return -1, fmt.Errorf("copy %s into a memfd: %w", path, err)
	}
	// Executing a file that is open for writing is ETXTBSY: reopen it.
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}
