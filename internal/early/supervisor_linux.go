package early

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Shim is the process that is to become the real program, as its supervisor sees it: its
// one thread waits for orders. Its methods are not safe for concurrent use.
type Shim struct {
	PID  int
	Name string   // what it was called by: the base name of the path that was executed
	Argv []string // with argv[0]

	staying bool
}

// Connect tells whether this process was started by a shim, and which. An error is a shim
// that cannot be seen, in a process that can do nothing but end.
//
// Called once, before anything else opens descriptors.
func Connect() (shim *Shim, ok bool, err error) {
	if len(os.Args) != 3 || os.Args[0] != "envoyshim" || os.Args[1] != superviseCommand {
		return nil, false, nil
	}
	// unix(7): for a socket pair, the process that made it.
	peer, err := unix.GetsockoptUcred(supervisorFD, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, true, errors.New(superviseCommand + " is internal: the shim starts it")
	}
	shim = &Shim{PID: int(peer.Pid)}
	if !inMemfd() {
		// Until its first word the shim may still do without, and become the program.
		if shim.answer() != nil {
			os.Exit(1) // it said why
		}
		_ = unix.Dup3(heldStderrFD, 2, 0)
		_ = unix.Close(heldStderrFD)
		becomeNamed(shim.PID)
	}
	unix.CloseOnExec(supervisorFD)
	unix.CloseOnExec(leaveFD)
	// proc_pid_cmdline(5): readable by everybody, each word with its NUL.
	words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", shim.PID))
	if err != nil {
		return nil, true, fmt.Errorf("read the arguments of process %d: %w", shim.PID, err)
	}
	shim.Argv = strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")
	shim.Name = nameOf(os.Args[2], shim.Argv[0])
	return shim, true, nil
}

// ErrNotLinked is what a program built without the early entry says when it is to be a shim, or to enter namespaces.
var ErrNotLinked = errors.New("this envoyshim was built without its early entry, which this needs; build it with `make build`")

// Name returns what this process was called by: the base name of the path that was executed.
func Name() string { return nameOf(ExecFn(), os.Args[0]) }

// ExecFn returns AT_EXECFN (getauxval(3)), the path that execve(2) was called with; argv[0] when the
// kernel gave none.
func ExecFn() string {
	const atExecFn = 31 // x/sys/unix lacks it
	if aux, err := unix.Auxv(); err == nil {
		for i := range aux {
			if aux[i][0] == atExecFn && aux[i][1] != 0 {
				return unix.BytePtrToString(*(**byte)(unsafe.Pointer(&aux[i][1])))
			}
		}
	}
	return os.Args[0]
}

// nameOf returns the base name of execfn, AT_EXECFN (getauxval(3)), which differs from argv[0], for the
// caller is free to choose that; but of argv[0] when the path has no name of its own
// (fexecve(3), /proc/self/exe).
func nameOf(execfn, argv0 string) string {
	dir, name := path.Split(execfn)
	if name == "" || dir == "/dev/fd/" || dir == "/proc/self/fd/" || execfn == "/proc/self/exe" {
		_, name = path.Split(argv0)
	}
	return name
}

// AllowTracer lets the process pid trace the shim, and what it becomes, under Yama's scope 1, where a
// tracer that is no ancestor needs it (prctl(2), PR_SET_PTRACER); ^uintptr(0) allows any,
// 0 none. Where the kernel refuses that (EINVAL without Yama, or a seccomp filter), the attach tells.
func (s *Shim) AllowTracer(pid uintptr) error {
	if err := s.order(orderAllow, uint64(pid), nil); err != nil {
		return err
	}
	if err := s.answer(); err == io.EOF {
		return fmt.Errorf("allow process %d as tracer: process %d ended", pid, s.PID)
	}
	return nil
}

// Stay makes this process an orphan that outlives the shim's execve. Without it, the shim executes what it is
// ordered to only after the end of this process.
func (s *Shim) Stay() {
	if s.staying {
		return
	}
	s.staying = true
	_, _ = unix.Write(leaveFD, []byte{0})
	_ = unix.Close(leaveFD)
}

// Exec orders the shim to become the program with the arguments argv, and its own
// environment. Whether it could is, after Stay, for [Shim.Became] to tell; else the shim itself
// reports a failure, in fewer words.
func (s *Shim) Exec(program string, argv []string) error {
	var args []uint64
	arg, text := uint64(sameArgs), []byte(program+"\x00")
	if !slices.Equal(argv, s.Argv) {
		arg = uint64(len(argv))
		args = make([]uint64, len(argv)+1) // and the end
		for i, a := range argv {
			if kept := slices.Index(s.Argv, a); kept >= 0 {
				args[i] = keptArg + uint64(kept)
				continue
			}
			args[i] = uint64(8*(orderWords+1+len(args)) + len(text))
			text = append(append(text, a...), 0)
		}
	}
	plan := binary.NativeEndian.AppendUint64(nil, uint64(8*(orderWords+1+len(args))))
	for _, a := range args {
		plan = binary.NativeEndian.AppendUint64(plan, a)
	}
	return s.order(orderExec, arg, append(plan, text...))
}

// Became waits until the shim has become the program, or has ended: nil. Or the execve failed; then
// the shim waits for another order, and the error is the bare errno.
func (s *Shim) Became() error {
	if err := s.answer(); err != io.EOF {
		return err
	}
	return nil
}

// Exit orders the shim to end with status.
func (s *Shim) Exit(status int) { _ = s.order(orderExit, uint64(status), nil) }

// order sends one message.
func (s *Shim) order(op, arg uint64, plan []byte) error {
	m := binary.NativeEndian.AppendUint64(nil, op)
	m = binary.NativeEndian.AppendUint64(m, arg)
	m = append(m, plan...)
	if len(m) > 8*maxOrder {
		return fmt.Errorf("the changed arguments take %d bytes; %d are possible", len(m), 8*maxOrder)
	}
	if err := unix.Sendto(supervisorFD, m, unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("tell process %d: %w", s.PID, err)
	}
	return nil
}

// answer reads the shim's one word, an errno; io.EOF when its end is closed.
func (s *Shim) answer() error {
	var b [8]byte
	for {
		n, err := unix.Read(supervisorFD, b[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECONNRESET || err == nil && n == 0: // killed with an order unread: unix(7)
			return io.EOF
		case err != nil:
			return fmt.Errorf("wait for process %d: %w", s.PID, err)
		}
		if errno := unix.Errno(binary.NativeEndian.Uint64(b[:])); errno != 0 {
			return errno
		}
		return nil
	}
}
