package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what /proc/PID/stat tells (proc_pid_stat(5)).
type Stat struct {
	Comm     string
	State    byte // R S D T t Z X ...
	PPID     int
	UTime    uint64 // clock ticks
	STime    uint64 // clock ticks
	Start    uint64 // clock ticks between the boot and the start of the process, suspension included
	ExitCode int    // in the form of waitpid's status; 0 unless State is Z and the reader may trace the process
}

// Tick is the unit of the times in /proc (time(7), USER_HZ), on all architectures that Go knows.
const Tick = time.Second / 100

// ReadStat reads /proc/PID/stat. os.ErrNotExist (or ESRCH) means that the
// process is gone.
func ReadStat(pid int) (Stat, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Stat{}, err
	}
	// comm is in parentheses and may itself contain any byte.
	open, end := bytes.IndexByte(raw, '('), bytes.LastIndexByte(raw, ')')
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("parse /proc/%d/stat: no command name", pid)
	}
	f := strings.Fields(string(raw[end+1:])) // f[0] is field 3
	if len(f) < 13 || len(f[0]) != 1 {
		return Stat{}, fmt.Errorf("parse /proc/%d/stat: %d fields", pid, len(f))
	}
	st := Stat{Comm: string(raw[open+1 : end]), State: f[0][0]}
	st.PPID, _ = strconv.Atoi(f[1])
	st.UTime, _ = strconv.ParseUint(f[11], 10, 64)
	st.STime, _ = strconv.ParseUint(f[12], 10, 64)
	if len(f) >= 20 {
		st.Start, _ = strconv.ParseUint(f[19], 10, 64)
	}
	if len(f) >= 50 {
		st.ExitCode, _ = strconv.Atoi(f[49])
	}
	return st, nil
}

// Age is how long ago the process was started, to a tick (proc_pid_stat(5), clock_gettime(2), CLOCK_BOOTTIME).
func Age(pid int) (time.Duration, error) {
	st, err := ReadStat(pid)
	if err != nil {
		return 0, err
	}
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return 0, err
	}
	return time.Duration(since.Nano()) - time.Duration(st.Start)*Tick, nil
}

// Status is what /proc/PID/status tells (proc_pid_status(5)).
type Status struct {
	Tgid      int // the process: pid itself, unless that is one of the other threads of a process
	RealUID   int
	UID       int // effective
	RealGID   int
	GID       int // effective
	TracerPid int // 0: not traced, or the tracer is in another pid namespace
	Threads   int
	SigPnd    uint64 // signals pending for the thread, same bits
	ShdPnd    uint64 // signals pending for the whole process; bit n-1 is signal n
	SigBlk    uint64 // blocked by the main thread, same bits
	SigIgn    uint64
	SigCgt    uint64 // caught by a handler, same bits
	NSpid     int    // the pid in the innermost pid namespace: 1 is its init
	Nested    int    // how many pid namespaces that one lies below that of /proc
	NoNewPriv bool
	Seccomp   int // 0 off, 1 strict, 2 filter
	CapEff    uint64
}

// ReadStatus reads /proc/PID/status.
func ReadStatus(pid int) (Status, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Status{}, err
	}
	var st Status
	for line := range strings.Lines(string(raw)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		n, _ := strconv.Atoi(f[0])
		mask, _ := strconv.ParseUint(f[0], 16, 64)
		switch key {
		case "Tgid":
			st.Tgid = n
		case "Uid":
			st.RealUID, st.UID = n, second(f)
		case "Gid":
			st.RealGID, st.GID = n, second(f)
		case "TracerPid":
			st.TracerPid = n
		case "Threads":
			st.Threads = n
		case "SigPnd":
			st.SigPnd = mask
		case "ShdPnd":
			st.ShdPnd = mask
		case "SigBlk":
			st.SigBlk = mask
		case "SigIgn":
			st.SigIgn = mask
		case "SigCgt":
			st.SigCgt = mask
		case "NSpid":
			st.NSpid, _ = strconv.Atoi(f[len(f)-1])
			st.Nested = len(f) - 1
		case "NoNewPrivs":
			st.NoNewPriv = n == 1
		case "Seccomp":
			st.Seccomp = n
		case "CapEff":
			st.CapEff = mask
		}
	}
	return st, nil
}

func second(f []string) int {
	if len(f) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(f[1])
	return n
}

// Pends reports a signal in the queue of the whole process, not in that of one thread.
func (s Status) Pends(sig syscall.Signal) bool { return s.ShdPnd&(1<<(sig-1)) != 0 }

// May reports an effective capability, by its number (capabilities(7)).
func (s Status) May(capability int) bool { return s.CapEff&(1<<capability) != 0 }

// capabilities are those that anything here asks for, by their numbers.
var capabilities = map[int]string{
	unix.CAP_BPF:          "CAP_BPF",
	unix.CAP_DAC_OVERRIDE: "CAP_DAC_OVERRIDE",
	unix.CAP_KILL:         "CAP_KILL",
	unix.CAP_PERFMON:      "CAP_PERFMON",
	unix.CAP_SETGID:       "CAP_SETGID",
	unix.CAP_SETUID:       "CAP_SETUID",
	unix.CAP_SYS_ADMIN:    "CAP_SYS_ADMIN",
	unix.CAP_SYS_CHROOT:   "CAP_SYS_CHROOT",
	unix.CAP_SYS_PTRACE:   "CAP_SYS_PTRACE",
}

// Missing names those of the capabilities that are not effective, as "CAP_BPF and CAP_PERFMON"; "" when none is.
func (s Status) Missing(needed ...int) string {
	names, _ := s.missing(needed)
	return names
}

// Lacks is Missing in a sentence, as "CAP_KILL is missing"; "" when none is.
func (s Status) Lacks(needed ...int) string {
	switch names, n := s.missing(needed); n {
	case 0:
		return ""
	case 1:
		return names + " is missing"
	default:
		return names + " are missing"
	}
}

func (s Status) missing(needed []int) (names string, n int) {
	var all []string
	for _, c := range needed {
		if !s.May(c) {
			all = append(all, capabilities[c])
		}
	}
	last := len(all) - 1
	if last < 1 {
		return strings.Join(all, ""), len(all)
	}
	return strings.Join(all[:last], ", ") + " and " + all[last], len(all)
}

// Grant is the cure for a capability that is missing. What a container has is root's there: an execve gives none of it to another uid
// (capabilities(7), "Transformation of capabilities during execve()").
func (s Status) Grant() string {
	if s.UID != 0 {
		return "run it as root on the node, or as root of a container that has what is missing"
	}
	return "run it as root on the node, or add what is missing to the container"
}

// Threads lists the thread ids of a process, in the order of /proc (proc_pid_task(5)).
func Threads(pid int) ([]int, error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	var tids []int
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

// Comm returns the command name of pid, or "?" when it is gone.
func Comm(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return "?"
	}
	return strings.TrimSuffix(string(b), "\n")
}

// Exe returns the path of the program that pid runs, as the kernel shows it
// (proc_pid_exe(5)), or "" when it may not be read.
func Exe(pid int) string {
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return path
}

// Args returns the arguments of pid (proc_pid_cmdline(5)); nil for a kernel thread, or when it is gone.
func Args(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}

// Environ returns the initial environment of pid (proc_pid_environ(5)); nil when
// it may not be read.
func Environ(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
}
