package catch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/nsutil/catch/internal/wire"
)

// OpenEBPF catches by a program in the kernel (package execprobe) at the tracepoint sched_process_exec, which sees every exec on the machine
// and stops what matches, nothing else. It catches what this process can see: the processes of its pid namespace and those below. A process that
// is traced, as by a debugger or by another catcher that follows forks, is left to its tracer, and does not count.
//
// It needs Linux 5.8, with Skip or Count 5.12, with BTF; CAP_BPF and CAP_PERFMON or CAP_SYS_ADMIN, in the initial user namespace. The
// error is an Unavailable where one of these is missing.
//
// The program lives in the kernel as long as this process does, however it ends.
func OpenEBPF(o Options) (Catcher, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	options, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	program, err := carried.Unpack(wire.Name)
	if err != nil {
		return nil, cannotStart(err)
	}
	defer program.Close()
	conn, theirs, err := carried.NewConn()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	e := &ebpf{conn: conn, more: make(chan struct{}, 1), ended: make(chan struct{})}
	e.cmd = exec.Cmd{
		Path:       carried.Path(program),
		Args:       []string{wire.Name, string(options)},
		Env:        append(os.Environ(), "GOMAXPROCS=2"),
		Stderr:     &e.stderr,
		ExtraFiles: []*os.File{theirs}, // 3
	}
	if err := e.cmd.Start(); err != nil {
		_ = conn.Close()
		return nil, cannotStart(carried.Explain(err))
	}
	_ = theirs.Close()
	go e.collect()
	switch ready, err := e.report(context.Background()); {
	case err != nil:
		return nil, err
	case ready.Cause == wire.Permission:
		return nil, &Unavailable{ready.Error, ready.Cure, ErrNotPermitted}
	case ready.Cause == wire.Support:
		return nil, &Unavailable{ready.Error, ready.Cure, ErrNotSupported}
	case ready.Error != "":
		return nil, errors.New(ready.Error)
	}
	return e, nil
}

func cannotStart(err error) error {
	return &Unavailable{fmt.Sprintf("start the eBPF program: %v", err), "mend that, or use the method ptrace", ErrNotSupported}
}

// ebpf is the Catcher of OpenEBPF: the side of this process.
type ebpf struct {
	conn   *carried.Conn
	cmd    exec.Cmd
	stderr bytes.Buffer // what a Go program says when it dies; to be read when ended is closed

	mu      sync.Mutex
	reports []wire.Report
	more    chan struct{} // there may be more reports
	ended   chan struct{} // closed when the process has ended, and all its reports are there

	missed uint64 // that Next has told
}

// collect takes the reports, so that the program never waits for anybody.
func (e *ebpf) collect() {
	defer close(e.ended)
	for {
		var r wire.Report
		if _, err := e.conn.Receive(&r); err != nil {
			break
		}
		e.mu.Lock()
		e.reports = append(e.reports, r)
		e.mu.Unlock()
		select {
		case e.more <- struct{}{}:
		default:
		}
	}
	_ = e.cmd.Wait()
	_ = e.conn.Close()
}

// report waits for the next report. One with End stays the next for ever.
func (e *ebpf) report(ctx context.Context) (wire.Report, error) {
	for ended := false; ; {
		e.mu.Lock()
		if len(e.reports) > 0 {
			r := e.reports[0]
			if !r.End {
				e.reports = e.reports[1:]
			}
			e.mu.Unlock()
			return r, nil
		}
		e.mu.Unlock()
		if ended {
			said, _, _ := strings.Cut(strings.TrimSpace(e.stderr.String()), "\n")
			return wire.Report{}, fmt.Errorf("the eBPF program ended by itself (%v): %s", e.cmd.ProcessState, said)
		}
		select {
		case <-e.more:
		case <-e.ended:
			ended = true
		case <-ctx.Done():
			return wire.Report{}, ctx.Err()
		}
	}
}

func (e *ebpf) Method() Method { return EBPF }

// Next waits for the next process that was stopped. ErrLost is told apart for each.
func (e *ebpf) Next(ctx context.Context) (Caught, error) {
	r, err := e.report(ctx)
	if err != nil {
		return Caught{}, err
	}
	if n := r.Missed - e.missed; n > 0 {
		e.missed = r.Missed
		if !r.End {
			e.putBack(r)
		}
		return Caught{}, fmt.Errorf("%w: %d were not stopped, because too many came at once", ErrLost, n)
	}
	switch {
	case r.End:
		return Caught{}, io.EOF
	case r.Error != "":
		return Caught{}, fmt.Errorf("%w: process %d cannot be stopped: %s", ErrLost, r.PID, r.Error)
	}
	now, boot := time.Now(), sinceBoot()
	c := Caught{PID: r.PID, Started: now.Add(time.Duration(r.Started) - boot), At: now.Add(time.Duration(r.At) - boot)}
	return c, settle(r.PID, r.Started/uint64(procfs.Tick))
}

func (e *ebpf) putBack(r wire.Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reports = append([]wire.Report{r}, e.reports...)
}

// stopTime bounds the program's end, which takes some milliseconds.
const stopTime = 10 * time.Second

func (e *ebpf) Stop() error {
	_ = e.conn.CloseWrite()
	stuck := time.AfterFunc(stopTime, func() { _ = e.cmd.Process.Kill() }) // which has the kernel drop it
	<-e.ended
	stuck.Stop()
	return nil
}

func (e *ebpf) Close() error { return e.Stop() }
