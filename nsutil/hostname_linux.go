package nsutil

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/nearest"
)

// hostNames are those of UTS namespaces. No file in /proc tells that of another namespace: a thread enters it and asks (setns(2), which
// needs CAP_SYS_ADMIN here and in the user namespace that owns the other), once for each.
type hostNames struct {
	own     uint64
	known   map[uint64]string // by the namespace's inode number; "" when that was refused
	files   []*os.File        // which keep these numbers from being given to other namespaces
	thread  thread            // that has entered one of them; nil before the first
	refused bool              // at least once
}

// InitialUTS is the inode number of the node's own UTS namespace (PROC_UTS_INIT_INO of the kernel).
const InitialUTS = 0xEFFFFFFE

func newHostNames() (*hostNames, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/uts", &st); err != nil {
		return nil, fmt.Errorf("read this process's UTS namespace: %w", err)
	}
	name, err := uname()
	return &hostNames{own: st.Ino, known: map[uint64]string{st.Ino: name}}, err
}

// of returns the host name of a process, and whether that is no pod's: of the caller's own UTS namespace, or of the node's.
func (h *hostNames) of(pid int) (name string, own bool, err error) {
	path := file(pid, "ns/uts")
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", false, err
	}
	name, ok := h.known[st.Ino]
	if !ok {
		if name, err = h.ask(path, &st); err != nil {
			return "", false, err
		}
	}
	return name, st.Ino == h.own || st.Ino == InitialUTS, nil
}

// nearest is the host name of a pod that is most like a name that none has, of those read until now; "" when none is like it, or when it is the
// beginning of one.
func (h *hostNames) nearest(name string) string {
	var pods []string
	for ns, host := range h.known {
		if strings.HasPrefix(host, name) {
			return ""
		}
		if ns != h.own && ns != InitialUTS {
			pods = append(pods, host)
		}
	}
	slices.Sort(pods)
	if i := nearest.Index(name, pods); i >= 0 {
		return pods[i]
	}
	return ""
}

// ask enters the namespace; st becomes that of the one entered.
func (h *hostNames) ask(path string, st *unix.Stat_t) (name string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	if err := unix.Fstat(int(f.Fd()), st); err != nil {
		f.Close()
		return "", err
	}
	if h.thread == nil {
		h.thread = newThread()
	}
	h.thread.do(func() {
		if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWUTS); err == nil {
			name, err = uname()
		}
	})
	if err == unix.EPERM {
		h.refused, err = true, nil
	}
	if err != nil {
		f.Close()
		return "", fmt.Errorf("enter %s: %w", path, err)
	}
	h.files = append(h.files, f)
	h.known[st.Ino] = name
	return name, nil
}

func (h *hostNames) close() {
	if h.thread != nil {
		close(h.thread)
	}
	for _, f := range h.files {
		f.Close()
	}
}

// uname is the host name in the UTS namespace of the calling thread.
func uname() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	return unix.ByteSliceToString(u.Nodename[:]), nil
}

// A thread of the system executes functions, one after another. Closing the channel ends it, and with it the namespaces that it has entered:
// no other goroutine ever gets it.
type thread chan func()

func newThread() thread {
	t := make(thread)
	go t.run()
	return t
}

func (t thread) run() {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread, whose namespaces are those of the process, would not end. While it waits here the next is another one.
		ended := make(chan struct{})
		go func() { defer close(ended); t.run() }()
		<-ended
		runtime.UnlockOSThread()
		return
	}
	for f := range t {
		f()
	}
}

// do executes f on the thread and waits for it.
func (t thread) do(f func()) {
	done := make(chan struct{})
	t <- func() { defer close(done); f() }
	<-done
}
