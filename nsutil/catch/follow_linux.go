package catch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
	"github.com/envoyshim/envoyshim/nsutil"
)

// OpenFollow catches execs of what a process starts from now on, children, grandchildren and threads, in whatever namespaces: it
// follows them by ptrace(2), which needs no eBPF and, for processes of this uid, no capability; else CAP_SYS_PTRACE, and CAP_KILL to stop
// what matches. The process is no child of this one. All that does not match runs on, however this process ends.
//
// While it lasts nobody else can trace what is followed, so that a debugger among it does not work, and set-user-ID programs get
// their privilege only if this process has CAP_SYS_PTRACE.
//
// The error is ErrNotPermitted where that is why.
func OpenFollow(pid int, o Options) (Catcher, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if err := o.Query(pid).Check(); err != nil {
		return nil, err
	}
	p, err := nsutil.Open(pid)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := free(pid); err != nil {
		return nil, err
	}
	f := &followed{pid: pid, options: o, more: make(chan struct{}, 1)}
	if f.follower, err = tracee.Follow(pid, f.execed); err != nil {
		return nil, withCapability(err, unix.CAP_SYS_PTRACE)
	}
	return f, nil
}

// followed is the Catcher of OpenFollow.
type followed struct {
	pid      int
	options  Options
	follower *tracee.Follower
	matched  int // known to the tracer's thread alone

	mu    sync.Mutex
	queue []held
	more  chan struct{} // there may be more in the queue
}

// held is a process that is caught, though it may not stand yet.
type held struct {
	Caught
	started uint64 // clock ticks after the boot
}

func (f *followed) Method() Method { return Ptrace }

// execed is tracee.Exec.
func (f *followed) execed(pid int, hold func() error) (more bool, err error) {
	at := time.Now()
	p, err := f.options.matches(pid)
	if err != nil {
		return false, fmt.Errorf("look at process %d: %w", pid, err)
	}
	if p == nil {
		return true, nil
	}
	if f.matched++; f.matched <= f.options.Skip {
		return true, nil
	}
	st, err := procfs.ReadStat(pid)
	if err != nil {
		return true, nil // killed
	}
	if err := hold(); err != nil {
		return true, withCapability(err, unix.CAP_KILL)
	}
	f.mu.Lock()
	f.queue = append(f.queue, held{Caught{PID: pid, Started: p.Started, At: at}, st.Start})
	f.mu.Unlock()
	select {
	case f.more <- struct{}{}:
	default:
	}
	return f.options.Count == 0 || f.matched < f.options.Skip+f.options.Count, nil
}

// Next waits for the next process that is caught. ErrLost is told for one that was killed or continued before it stood.
func (f *followed) Next(ctx context.Context) (Caught, error) {
	for ended := false; ; {
		if h, ok := f.take(); ok {
			return h.Caught, settle(h.PID, h.started)
		}
		if ended {
			return Caught{}, f.end()
		}
		select {
		case <-ctx.Done():
			return Caught{}, ctx.Err()
		case <-f.follower.Done():
			ended = true
		case <-f.more:
		}
	}
}

func (f *followed) take() (held, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return held{}, false
	}
	h := f.queue[0]
	f.queue = f.queue[1:]
	return h, true
}

// end says why there is no more to come.
func (f *followed) end() error {
	switch err := f.follower.Err(); {
	case err == nil:
		return io.EOF
	case errors.Is(err, tracee.ErrNobody):
		return fmt.Errorf("%w: process %d has ended, and all that it started; follow a parent that stays", err, f.pid)
	default:
		return fmt.Errorf("follow process %d: %w", f.pid, err)
	}
}

func (f *followed) Stop() error {
	f.follower.Stop()
	return nil
}

func (f *followed) Close() error { return f.Stop() }

// free refuses a process that cannot be traced, that is traced, or that traces: what its tracees start is its own to follow.
func free(pid int) error {
	p, err := nsutil.Open(pid)
	if err != nil {
		return fmt.Errorf("follow %w", err)
	}
	defer p.Close()
	if err := p.Traceable(); err != nil {
		return err
	}
	threads, err := procfs.Threads(pid)
	if err != nil {
		return fmt.Errorf("follow process %d: %w", pid, unix.ESRCH)
	}
	own := map[int]bool{}
	for _, tid := range threads {
		own[tid] = true
		if st, err := procfs.ReadStatus(tid); err == nil && st.TracerPid != 0 {
			return fmt.Errorf("follow process %d (%s): it is traced by process %d (%s) already; end that first", pid, procfs.Comm(pid), st.TracerPid,
				procfs.Comm(st.TracerPid))
		}
	}
	pids, err := nsutil.PIDs()
	if err != nil {
		return err
	}
	for _, other := range pids {
		if st, err := procfs.ReadStatus(other); err == nil && own[st.TracerPid] {
			return fmt.Errorf("follow process %d (%s): it traces process %d (%s) itself, and what that starts; catch by eBPF", pid, procfs.Comm(pid), other,
				procfs.Comm(other))
		}
	}
	return nil
}

// withCapability names the capability that is missing, if it is that.
func withCapability(err error, needed int) error {
	if !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) {
		return err
	}
	own, serr := procfs.ReadStatus(os.Getpid())
	if serr != nil || own.May(needed) {
		return err
	}
	return &Unavailable{fmt.Sprintf("%v; %s here", err, own.Lacks(needed)), own.Grant(), ErrNotPermitted}
}
