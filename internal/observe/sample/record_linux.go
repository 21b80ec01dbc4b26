package sample

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// The ways to sample.
const (
	Auto   = "auto" // by the kernel where it lets us, else by ptrace
	ByPerf = "perf"
	Ptrace = "ptrace"
)

// A Stream is what a supervisor tells of its process.
type Stream interface {
	Next() (observe.Event, error) // io.EOF after the last
	Stop()                        // the last is yet to come
}

// A Recording is what is to be made into a profile.
type Recording struct {
	PID       int
	Frequency int       // Hz
	Method    string    // Auto, ByPerf, Ptrace
	Start     time.Time // of the program, where it has not run yet; the zero time: the sampling begins in its midst
	// Release lets the process run, once it is sampled by the kernel; nil: it does.
	Release func() error
	// Observe asks the supervisor of the process to sample it by ptrace, and to let it run; nil: there is none, and this process does it itself. The stream is
	// left open: until it is closed the end of the process waits for a moment.
	Observe func(observe.Order) (Stream, error)
	// Began is called when the sampling has begun, with the way it is done.
	Began func(method string)
}

// Record samples a process until stop is closed or it has ended. A profile comes also with an error, of what there was until then, unless it is nil.
func Record(r Recording, stop <-chan struct{}) (p *profile.Profile, exited bool, err error) {
	files, err := profile.OpenFiles(r.PID)
	if err != nil {
		return nil, false, err
	}
	defer files.Close()
	b := profile.NewBuilder(Types[:]...)
	b.Found = files.Keep
	b.Profile.Start = r.Start
	if r.Start.IsZero() {
		b.Profile.Start = time.Now()
	}
	b.Profile.Default, b.Profile.PeriodType = profile.CPU.Type, profile.CPU
	began := time.Now()
	var comments []string
	if r.Method == Ptrace {
		comments, exited, err = r.byPtrace(b, stop)
	} else {
		comments, exited, err = r.byPerf(b, stop)
		var refusal *Refusal
		if r.Method != ByPerf && errors.As(err, &refusal) {
			if comments, exited, err = r.byPtrace(b, stop); comments == nil {
				return nil, false, fmt.Errorf("%w; and by ptrace: %w", refusal, err)
			}
			comments = append(comments, refusal.Error())
		}
	}
	if comments == nil {
		return nil, false, err
	}
	b.Profile.Duration = time.Since(began)
	if !r.Start.IsZero() {
		comments = append(comments, "from the first instruction on; the time on hold before it is left out")
	}
	if taken(&b.Profile) < few {
		comments = append(comments, "few samples: their shares are chance; a longer time brings more, and by perf_event_open a higher --frequency, as 999")
	}
	b.Profile.Comments = append(comments, host())
	b.Profile.Symbolise(files.Paths)
	b.Profile.SymboliseKernel()
	return &b.Profile, exited, err
}

// few samples tell next to nothing about shares.
const few = 20

// taken is how many samples found a thread on a CPU.
func taken(p *profile.Profile) (n int64) {
	for _, s := range p.Samples {
		n += s.Values[0]
	}
	return n
}

// unseen says when much of the time that the threads had, ended ones included, is in no sample. The kernel begins a period anew with each
// thread and CPU, and a stop finds only threads that are there: those that live for less than a period are missed by both. perf(1) is no better.
func unseen(p *profile.Profile, spent time.Duration) []string {
	var sampled time.Duration
	for _, s := range p.Samples {
		sampled += time.Duration(s.Values[1])
	}
	const much = 200 * time.Millisecond // more than the ticks of /proc are wrong by
	if spent < sampled*5/4+much {
		return nil
	}
	return []string{fmt.Sprintf("%s of CPU time are in no sample: threads that live for less than a period (%s) are not seen",
		(spent - sampled).Round(10*time.Millisecond), time.Duration(p.Period).Round(10*time.Microsecond))}
}

// spent is the CPU time of a process with all its threads, ended ones included, to a tick; 0 when it is gone.
func spent(pid int, kernel bool) time.Duration {
	st, _ := procfs.ReadStat(pid)
	if kernel {
		st.UTime += st.STime
	}
	return time.Duration(st.UTime) * procfs.Tick
}

// byPerf has the kernel do it. Without comments nothing has begun.
func (r Recording) byPerf(b *profile.Builder, stop <-chan struct{}) (comments []string, exited bool, err error) {
	perf, err := OpenPerf(r.PID, r.Frequency)
	if err != nil {
		return nil, false, err
	}
	defer perf.Close()
	if err := perf.Begin(b); err != nil {
		return nil, false, err
	}
	b.Profile.Period = int64(perf.Period())
	if r.Release != nil {
		if err := r.Release(); err != nil {
			return nil, false, err
		}
	}
	r.Began(ByPerf)
	before := spent(r.PID, perf.kernel)
	exited, err = perf.Run(b, stop)
	scale := perf.Scale()
	for _, s := range b.Profile.Samples {
		s.Values[1] = int64(float64(s.Values[1]) * scale)
	}
	used, ok := perf.Spent()
	if !ok {
		used = spent(r.PID, perf.kernel) - before
	}
	return append(perf.Comments(), unseen(&b.Profile, used)...), exited, err
}

// byPtrace has the supervisor do it, or does it here.
func (r Recording) byPtrace(b *profile.Builder, stop <-chan struct{}) (comments []string, exited bool, err error) {
	order := observe.Sample{Frequency: min(r.Frequency, MaxPtrace)}
	b.Profile.Period = int64(time.Second) / int64(order.Frequency)
	t := &tally{builder: b}
	began, before := time.Now(), spent(r.PID, true)
	if r.Observe != nil {
		err = r.follow(order, t, stop)
	} else {
		err = r.seize(order, t, stop)
	}
	if err != nil && t.rounds == 0 && !t.exited {
		return nil, false, err
	}
	comments = t.comments(order.Frequency, time.Since(began))
	return append(comments, unseen(&b.Profile, spent(r.PID, true)-before)...), t.exited, err
}

// follow has the supervisor sample.
func (r Recording) follow(order observe.Sample, t *tally, stop <-chan struct{}) error {
	stream, err := r.Observe(observe.Order{Sample: &order})
	if err != nil {
		return err
	}
	r.Began(Ptrace)
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-stop:
			stream.Stop()
		case <-over:
		}
	}()
	for {
		e, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.Kind == observe.End && e.Text != "" {
			return errors.New(e.Text)
		}
		t.take(e)
	}
}

// seize samples from here.
func (r Recording) seize(order observe.Sample, t *tally, stop <-chan struct{}) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the tracer; it ends with the goroutine
		p, err := tracee.Seize(r.PID)
		if err == nil {
			r.Began(Ptrace)
			began := time.Now()
			p.PassWhen(func(tid int, sig unix.Signal) bool { return !p.Fatal(tid, sig) })
			_, err = Run(p, order, func() time.Duration { return time.Since(began) }, t.take, nil, stop)
			if derr := p.Detach(p.HasEndedGroupStop()); !errors.Is(derr, tracee.ErrNoProcess) {
				err = errors.Join(err, derr)
			}
			p.Release()
		}
		done <- err
	}()
	return <-done
}

// EndedByItself begins a comment that says how.
const EndedByItself = "the process ended by itself: "

// tally makes events into samples.
type tally struct {
	builder *profile.Builder
	rounds  int
	at      time.Duration // of the last round
	stopped time.Duration
	woken   int
	exited  bool
	notes   []string // of signals and the end
}

func (t *tally) take(e observe.Event) {
	switch e.Kind {
	case observe.Signal:
		t.notes = append(t.notes, fmt.Sprintf("%s in thread %d (%s): %s", e.Result, e.TID, e.Thread, e.Text))
	case observe.Exit:
		t.exited = true
		t.notes = append(t.notes, EndedByItself+e.Result)
	case observe.End:
		if e.Result != "" {
			t.notes = append(t.notes, "the process is "+e.Result)
		}
	case observe.Stack:
		if t.rounds == 0 || e.Time != t.at { // all samples of a round tell the same time
			t.rounds++
			t.at = e.Time
		}
		t.stopped += e.Stopped
		t.woken += e.Woken
		if e.Maps != nil {
			t.builder.Exec()
			for _, m := range e.Maps {
				t.builder.Map(profile.Mapping{Start: m.Start, Limit: m.Limit, Offset: m.Offset, File: m.File})
			}
		}
		values := []int64{1, int64(e.Duration), 0}
		if e.Asleep {
			values = []int64{0, 0, int64(e.Duration)}
		}
		t.builder.Add(profile.Stack{TID: e.TID, Thread: e.Thread, PCs: e.PCs, Values: values})
	}
}

// comments say how it was sampled, and what that did to the process.
func (t *tally) comments(frequency int, took time.Duration) []string {
	all := []string{fmt.Sprintf("sampled by ptrace: threads that run stopped at %d Hz, call chains by frame pointers", frequency)}
	rate := float64(t.rounds) / took.Seconds()
	slow := fmt.Sprintf("slowed down: threads that ran stood still for %.1f %% of the time", 100*t.stopped.Seconds()/took.Seconds())
	if rate < 0.8*float64(frequency) {
		slow += fmt.Sprintf("; it came to %.0f Hz", rate)
	}
	all = append(all, slow)
	if t.woken > 0 {
		all = append(all, fmt.Sprintf("%d calls that wait, as epoll_wait(2), ended with EINTR: a thread is stopped where it was not seen to wait before, and then left asleep there", t.woken))
	}
	return append(all, t.notes...)
}
