package sample

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// A Sink is told what was found, in the order of time. A profile.Builder is one.
type Sink interface {
	Exec()                   // the process runs a new program: nothing is mapped any more
	Map(m profile.Mapping)   // code is mapped
	Add(stack profile.Stack) // with values as Types has them; PCs and Values are the sink's while it runs
}

// Types are those of the values in a Stack.
var Types = [...]profile.ValueType{profile.Samples, profile.CPU, profile.OffCPU}

// Perf samples one process by perf_event_open(2).
type Perf struct {
	pid       int
	period    time.Duration
	pidfd     int
	wake      int // an eventfd: the caller wants an end
	clock     clock
	kernel    bool
	offCPU    error // why there is no off-CPU time
	rings     []*ring
	ringSize  int // of each, bytes
	events    []opened
	opened    map[uint64]event // by id (PERF_SAMPLE_ID)
	twice     bool             // threads may have two events of a kind
	counted   uint64           // by the clock, of all threads, ended ones included
	sorter    []record
	order     []moment // of the sorter
	chains    []uint64 // of its records
	later     []record // room for the next sorter,
	older     []uint64 // its chains,
	pcs       []uint64 // and what the sink is told
	values    [len(Types)]int64
	lost      uint64 // records, as records tell
	missing   uint64 // as the events do, where they can
	throttled uint64
	threads   map[int]*thread
	periods   []uint64 // of a clock whose periods change: the first of them
}

// event is one that was opened: descendants of the thread have copies of it, which tell the same id.
type event struct {
	tid      int
	switches bool // it samples at each switch-out, not the clock
}

// opened is the descriptor of one.
type opened struct {
	fd       int
	switches bool
}

// thread is one of the process that has told of itself.
type thread struct {
	name   string
	onCPU  source
	offCPU source
	waits  bool     // it does not run
	out    uint64   // since then, ns
	stack  []uint64 // and there
}

// source is the thread whose event another one is counted by: what it was opened for. 0: none yet.
type source int

// A clock is what makes the samples.
type clock struct {
	name   string
	typ    uint32
	config uint64
	freq   bool // the kernel adapts its period, which is no time
}

// The clocks, the better one first. A virtual machine often has no PMU.
var clocks = []clock{
	{"cycles", unix.PERF_TYPE_HARDWARE, unix.PERF_COUNT_HW_CPU_CYCLES, true},
	{"cpu-clock", unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CPU_CLOCK, false},
}

// OpenPerf opens the events of a process that is stopped, or runs: from there on its threads are sampled. The error is a *Refusal
// where that is not allowed.
func OpenPerf(pid, frequency int) (*Perf, error) {
	for size := ringSize; ; size /= 2 {
		p := &Perf{
			pid: pid, period: time.Second / time.Duration(frequency), pidfd: -1, wake: -1, ringSize: size,
			opened: map[uint64]event{}, threads: map[int]*thread{},
		}
		err := p.start(frequency)
		if err == nil {
			return p, nil
		}
		p.Close()
		if size == ringLeast || !errors.Is(err, errLocked) {
			return nil, err
		}
	}
}

func (p *Perf) start(frequency int) (err error) {
	if p.pidfd, err = unix.PidfdOpen(p.pid, 0); err != nil {
		return fmt.Errorf("open a pidfd of process %d: %w", p.pid, err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fmt.Errorf("create an eventfd: %w", err)
	}
	if err := p.choose(frequency); err != nil {
		return err
	}
	cpus, err := online()
	if err != nil {
		return err
	}
	// Threads that are made meanwhile inherit the events, if the thread that makes them has them already: list again until none is new.
	for known := map[int]bool{}; ; {
		tids, err := procfs.Threads(p.pid)
		if err != nil {
			return fmt.Errorf("list the threads of process %d: %w", p.pid, err)
		}
		tids = slices.DeleteFunc(tids, func(tid int) bool { return known[tid] })
		if len(tids) == 0 {
			break
		}
		p.twice = len(known) > 0
		for _, tid := range tids {
			known[tid] = true
			p.threads[tid] = &thread{name: procfs.Comm(tid)}
			if err := p.openThread(tid, cpus, frequency); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	if len(p.rings) == 0 {
		return fmt.Errorf("sample process %d: %w", p.pid, unix.ESRCH)
	}
	return nil
}

// choose finds out what the kernel lets us do.
func (p *Perf) choose(frequency int) error {
	var err error
	for _, p.clock = range clocks {
		for _, p.kernel = range []bool{true, false} {
			var fd int
			if fd, err = open(p.attr(event{}, frequency), p.pid, -1); err == nil {
				_ = unix.Close(fd)
				p.offCPU = p.tryOffCPU(frequency)
				return nil
			}
		}
	}
	return refused(p.pid, err)
}

func (p *Perf) tryOffCPU(frequency int) error {
	if !p.kernel {
		return errors.New("the kernel tells of switches only with kernel.perf_event_paranoid at most 1, or CAP_PERFMON")
	}
	fd, err := open(p.attr(event{switches: true}, frequency), p.pid, -1)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// attr is what is asked of the kernel for one event.
func (p *Perf) attr(e event, frequency int) *unix.PerfEventAttr {
	a := &unix.PerfEventAttr{
		Type: p.clock.typ, Config: p.clock.config,
		Sample_type: unix.PERF_SAMPLE_IDENTIFIER | unix.PERF_SAMPLE_TID | unix.PERF_SAMPLE_TIME | unix.PERF_SAMPLE_PERIOD | unix.PERF_SAMPLE_CALLCHAIN,
		Bits:        unix.PerfBitInherit | unix.PerfBitSampleIDAll | unix.PerfBitWatermark | unix.PerfBitExcludeHv | unix.PerfBitExcludeGuest | unix.PerfBitUseClockID,
		Read_format: unix.PERF_FORMAT_LOST,
		Wakeup:      uint32(p.ringSize / wakeups),
		Clockid:     unix.CLOCK_MONOTONIC,
	}
	switch {
	case e.switches:
		a.Type, a.Config, a.Sample = unix.PERF_TYPE_SOFTWARE, unix.PERF_COUNT_SW_CONTEXT_SWITCHES, 1
		// The kernel's part of a chain takes the kernel as long as all else of a sample, and all of them wait in its scheduler.
		a.Bits |= unix.PerfBitContextSwitch | unix.PerfBitExcludeCallchainKernel
	case p.clock.freq:
		a.Sample = uint64(frequency)
		a.Bits |= unix.PerfBitFreq
	default:
		a.Sample = uint64(p.period)
	}
	if !e.switches {
		a.Bits |= unix.PerfBitMmap | unix.PerfBitMmap2 | unix.PerfBitComm | unix.PerfBitCommExec | unix.PerfBitTask
	}
	if !p.kernel {
		a.Bits |= unix.PerfBitExcludeKernel | unix.PerfBitExcludeCallchainKernel
	}
	a.Size = uint32(unsafe.Sizeof(*a))
	return a
}

func open(a *unix.PerfEventAttr, tid, cpu int) (int, error) {
	fd, err := unix.PerfEventOpen(a, tid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
	if err != unix.EINVAL {
		return fd, err
	}
	a.Read_format &^= unix.PERF_FORMAT_LOST // before Linux 6.0
	return unix.PerfEventOpen(a, tid, cpu, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// openThread opens the events of one thread. Those of one CPU share a ring.
func (p *Perf) openThread(tid int, cpus []int, frequency int) error {
	for _, cpu := range cpus {
		for _, e := range []event{{tid: tid}, {tid: tid, switches: true}} {
			if e.switches && p.offCPU != nil {
				continue
			}
			fd, err := open(p.attr(e, frequency), tid, cpu)
			switch {
			case err == unix.ENODEV: // the CPU has gone offline
				continue
			case err == unix.EMFILE:
				return fmt.Errorf("sample process %d: %w: it takes %d descriptors for each thread; raise the limit (ulimit -n)", p.pid, err, 2*len(cpus))
			case err != nil:
				return fmt.Errorf("sample thread %d of process %d: %w", tid, p.pid, err)
			}
			p.events = append(p.events, opened{fd, e.switches})
			if err := p.share(fd, cpu); err != nil {
				return err
			}
			var id uint64
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.PERF_EVENT_IOC_ID, uintptr(unsafe.Pointer(&id))); errno != 0 {
				return fmt.Errorf("ask for the id of an event: %w", errno)
			}
			p.opened[id] = e
		}
	}
	return nil
}

// share has an event write into the ring of its CPU.
func (p *Perf) share(fd, cpu int) error {
	i := slices.IndexFunc(p.rings, func(r *ring) bool { return r.cpu == cpu })
	if i < 0 {
		r, err := newRing(fd, cpu, p.ringSize)
		if err != nil {
			return err
		}
		p.rings = append(p.rings, r)
		return nil
	}
	if err := unix.IoctlSetInt(fd, unix.PERF_EVENT_IOC_SET_OUTPUT, p.rings[i].events[0]); err != nil {
		return fmt.Errorf("join the events of CPU %d: %w", cpu, err)
	}
	p.rings[i].events = append(p.rings[i].events, fd)
	return nil
}

// Close ends the sampling.
func (p *Perf) Close() {
	for _, r := range p.rings {
		r.unmap()
	}
	for _, e := range append(p.events, opened{fd: p.pidfd}, opened{fd: p.wake}) {
		if e.fd >= 0 {
			_ = unix.Close(e.fd)
		}
	}
}

// Period is the time between two samples of a thread that runs.
func (p *Perf) Period() time.Duration { return p.period }

// enoughPeriods are for Scale; a profile may last for days.
const enoughPeriods = 1 << 16

// Scale is how many nanoseconds one count of the clock stands for. The kernel finds the number of cycles between two samples by trying, anew for
// each thread, and only most of them are the period that was asked for.
func (p *Perf) Scale() float64 {
	if len(p.periods) == 0 {
		return 1
	}
	slices.Sort(p.periods)
	return float64(p.period) / float64(p.periods[len(p.periods)/2])
}

// Spent is the CPU time of all threads while they were sampled, ended ones included. ok is false where the clock has counted more, or some twice.
func (p *Perf) Spent() (spent time.Duration, ok bool) {
	return time.Duration(float64(p.counted) * p.Scale()), p.kernel && !p.twice
}

// Comments say how it was sampled, and what is missing.
func (p *Perf) Comments() []string {
	all := []string{fmt.Sprintf("sampled by perf_event_open: %s at %d Hz, call chains by frame pointers", p.clock.name, time.Second/p.period)}
	if !p.kernel {
		all = append(all, "the time in the kernel is missing: it needs kernel.perf_event_paranoid at most 1, or CAP_PERFMON")
	}
	if p.offCPU != nil {
		all = append(all, fmt.Sprintf("no off-CPU time: %v", p.offCPU))
	}
	if lost := max(p.lost, p.missing); lost > 0 {
		all = append(all, fmt.Sprintf("%d records were lost: the machine was too busy to read them", lost))
	}
	if p.throttled > 0 {
		all = append(all, fmt.Sprintf("the kernel has throttled the sampling %d times (kernel.perf_event_max_sample_rate, kernel.perf_cpu_time_max_percent)", p.throttled))
	}
	return all
}

// online lists the CPUs.
func online() ([]int, error) {
	const file = "/sys/devices/system/cpu/online" // as 0-3,5
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []int
	for part := range strings.SplitSeq(strings.TrimSpace(string(text)), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(from)
		last, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("read %s: %q is no list of CPUs", file, part)
		}
		for cpu := first; cpu <= last; cpu++ {
			all = append(all, cpu)
		}
	}
	return all, nil
}
