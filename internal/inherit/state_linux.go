package inherit

import (
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Written by the early entry; stack stays nil in a binary linked without it.
var (
	stack   *uintptr // the initial stack pointer: argc, argv, NULL, envp, NULL, auxv
	blocked uint64   // signal mask; bit n-1 is signal n
	ignored uint64   // signals with disposition SIG_IGN, same bits
	closed  uint64   // which of descriptors 0, 1, 2 were not open; bit n is n
)

// Used by the early entry alone.
var (
	released  uint32 // its trial threads may end; a futex
	exhausted = "envoyshim: failed: no further process can be started: the limit (ulimit -u, or the pod's pid limit) is reached; raise it; running undebugged unless ENVOYSHIM_ON_FAILURE=exit\n"
)

var _, _ = &released, &exhausted

// getauxval(3), AT_EXECFN; x/sys/unix lacks it.
const atExecFn = 31

// Early reports whether the early entry ran, that is, whether the signal state
// of the parent is known.
func Early() bool { return stack != nil }

// Environ returns the environment exactly as execve(2) got it: in its order,
// with duplicates and with entries that have no '='. os.Environ drops
// duplicates.
func Environ() []string {
	if stack != nil {
		argc := *stack
		var env []string
		for p := word(1 + argc + 1); *p != 0; p = (*uintptr)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
			env = append(env, cstring(*(**byte)(unsafe.Pointer(p))))
		}
		return env
	}
	// proc_pid_environ(5): the initial environment, NUL-terminated entries.
	raw, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return os.Environ()
	}
	if len(raw) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
}

// ExecFn returns AT_EXECFN (getauxval(3)): the path name that execve(2) was
// called with. It differs from argv[0], which the caller is free to choose.
// When the kernel gave none, or one without a name of its own (fexecve(3),
// /proc/self/exe), it returns argv[0].
func ExecFn() string {
	fn := ""
	if aux, err := unix.Auxv(); err == nil {
		for i := range aux {
			if aux[i][0] == atExecFn && aux[i][1] != 0 {
				fn = cstring(*(**byte)(unsafe.Pointer(&aux[i][1])))
			}
		}
	}
	if dir := filepath.Dir(fn); fn == "" || dir == "/dev/fd" || dir == "/proc/self/fd" || fn == "/proc/self/exe" {
		if len(os.Args) == 0 {
			return ""
		}
		return os.Args[0]
	}
	return fn
}

// word returns the address of the i-th word of the initial stack.
func word(i uintptr) *uintptr {
	return (*uintptr)(unsafe.Add(unsafe.Pointer(stack), i*unsafe.Sizeof(*stack)))
}

// cstring copies the NUL-terminated string at p.
func cstring(p *byte) string { return unix.BytePtrToString(p) }
