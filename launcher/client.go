//go:build linux

package launcher

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
	"github.com/envoyshim/envoyshim/nsutil"
)

// controlTimeout is longer than any healthy supervisor takes to answer.
const controlTimeout = 20 * time.Second

// Find lists the processes of this pid namespace that envoyshim holds, serves or
// has let go, by pid. A process whose supervisor is gone is known by its
// environment; Supervisor is 0 then. pid 0 means all; a given pid is listed whatever it
// is, and is an error when there is no such process or it belongs to another uid.
func Find(pid int) ([]Status, error) {
	pidns, err := nsutil.PIDNamespace()
	if err != nil {
		return nil, fmt.Errorf("find the pid namespace: %w", err)
	}
	var found []Status
	prefix := strings.TrimSuffix(controlName(pidns, 0), "0")
	for _, name := range abstractSockets(prefix) {
		n, err := strconv.Atoi(strings.TrimPrefix(name, prefix))
		if err != nil || pid != 0 && n != pid {
			continue
		}
		r, err := ask(name, n, "status")
		if errors.Is(err, errSupervisorGone) {
			continue // it died this moment: the process is found without it below
		}
		if err != nil {
			if pid != 0 {
				return nil, err
			}
			continue
		}
		found = append(found, r.Status)
	}
	pids := []int{pid}
	if pid == 0 {
		if pids, err = nsutil.PIDs(); err != nil {
			return nil, err
		}
	}
	for _, n := range pids {
		if slices.ContainsFunc(found, func(st Status) bool { return st.PID == n }) {
			continue
		}
		st, ours := orphan(n)
		if pid == 0 && (!ours || !sameNamespace(n)) {
			continue
		}
		// Its supervisor may have come since the look above.
		if ours {
			if r, err := ask(controlName(pidns, n), n, "status"); err == nil {
				found = append(found, r.Status)
				continue
			}
		}
		if st.State == Exited {
			return nil, fmt.Errorf("process %d: no such process", n)
		}
		if err := mayControl(os.Geteuid(), ownerOf(n)); err != nil {
			return nil, err
		}
		found = append(found, st)
	}
	slices.SortFunc(found, func(a, b Status) int { return a.PID - b.PID })
	return found, nil
}

// orphan describes a process without a supervisor. ours means that its environment
// asked for one.
func orphan(pid int) (st Status, ours bool) {
	state, tracer := processState(pid)
	st = Status{PID: pid, State: state, Mode: Off, Exe: procfs.Exe(pid), Tracer: tracer, Since: now()}
	if info, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
		st.Since = info.ModTime().Truncate(time.Millisecond)
	}
	if state == Exited || st.Exe == "" {
		return st, false
	}
	env := map[string]string{"ENVOYSHIM_TARGET": "envoy"}
	for _, e := range procfs.Environ(pid) {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, prefix) {
			env[name] = value
		}
	}
	st.Name = filepath.Base(st.Exe)
	for _, target := range splitList(env["ENVOYSHIM_TARGET"]) {
		st.Mode = Mode(byName("ENVOYSHIM_MODE", env["ENVOYSHIM_MODE"], target, string(Off), &checker{}))
		real := env["ENVOYSHIM_REAL"]
		onCrash, _ := strconv.ParseBool(env["ENVOYSHIM_HOLD_ON_CRASH"])
		if (st.Mode == "" || st.Mode == Off) && !onCrash || st.Name != target && st.Exe != real {
			continue
		}
		info, err := elfinfo.Read(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && info.Shim {
			continue
		}
		st.BuildID = info.BuildID
		return st, true
	}
	st.Mode = Off
	return st, false
}

// sameNamespace reports whether pid belongs to this very pid namespace: /proc shows
// those of nested ones, too, whose supervisors know them by other pids.
func sameNamespace(pid int) bool {
	own, err1 := os.Stat("/proc/self/ns/pid")
	its, err2 := os.Stat(fmt.Sprintf("/proc/%d/ns/pid", pid))
	return err1 == nil && err2 == nil && os.SameFile(own, its)
}

func ownerOf(pid int) int {
	st, err := procfs.ReadStatus(pid)
	if err != nil {
		return -1
	}
	return st.UID
}

// errSupervisorGone means that the supervisor ended before it answered.
var errSupervisorGone = errors.New("the supervisor ended")

// ask sends one request to the supervisor of pid.
func ask(name string, pid int, op string) (reply, error) {
	conn, _, r, err := request{Op: op}.send(name, pid)
	if err == nil {
		_ = conn.Close()
	}
	return r, err
}

// send sends the request to the supervisor of pid, and returns the connection with the first reply. Lines that follow it unasked are the decoder's.
func (req request) send(name string, pid int) (*net.UnixConn, *json.Decoder, reply, error) {
	conn, err := dialControl(name, pid)
	if err != nil {
		return nil, nil, reply{}, err
	}
	_ = conn.SetDeadline(time.Now().Add(controlTimeout))
	var r reply
	lines := json.NewDecoder(conn)
	err = json.NewEncoder(conn).Encode(req)
	if err == nil {
		err = lines.Decode(&r)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("the supervisor of process %d does not answer: %w", pid, err)
	case err != nil:
		err = fmt.Errorf("ask about process %d: %w: %w", pid, errSupervisorGone, err)
	case r.Error != "":
		err = errors.New(r.Error)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, r, err
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, lines, r, nil
}

// dialControl connects to a supervisor. The name could have been taken by
// anybody in the pod: only root or the owner of pid is believed.
func dialControl(name string, pid int) (*net.UnixConn, error) {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("connect for process %d: %w: %w", pid, errSupervisorGone, err)
	}
	cred, err := peerCred(conn)
	if err == nil {
		err = mayControl(int(cred.Uid), ownerOf(pid))
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("the supervisor of process %d is not genuine: %w", pid, err)
	}
	return conn, nil
}

// one returns the process to steer: the given one, else the only one that fits.
func one(pid int, what string, fits func(Status) bool) (Status, error) {
	all, err := Find(pid)
	if err != nil {
		return Status{}, err
	}
	if pid != 0 {
		return all[0], nil
	}
	candidates := slices.DeleteFunc(slices.Clone(all), func(st Status) bool { return !fits(st) })
	switch {
	case len(candidates) == 1:
		return candidates[0], nil
	case len(candidates) == 0:
		return Status{}, fmt.Errorf("no process is %s here; `envoyshim status` lists what there is", what)
	}
	var pids []string
	for _, st := range candidates {
		pids = append(pids, strconv.Itoa(st.PID))
	}
	return Status{}, fmt.Errorf("several processes are %s: choose one by --pid: %s", what, strings.Join(pids, ", "))
}

// Resume lets a held process run. Without a supervisor it first takes out what breakpoints a
// debugger has left, of a process that runs, too, of the same uid or as root.
func Resume(pid int) (Status, error) { return resumeBy(pid, "envoyshim resume") }

// Release is [Resume] by a command of another name, which the log and the history tell.
func Release(pid int, by string) error {
	_, err := resumeBy(pid, by)
	return err
}

func resumeBy(pid int, by string) (Status, error) {
	st, err := one(pid, "held", func(st Status) bool { return st.State == Held })
	if err != nil {
		return st, err
	}
	if st.Supervisor != 0 {
		after, err := request{Op: "resume", By: by}.control(st)
		if !errors.Is(err, errSupervisorGone) {
			return after, err
		}
		st.State, st.Tracer = processState(st.PID)
		st.Supervisor = 0
	}
	if err := mayControl(os.Geteuid(), ownerOf(st.PID)); err != nil {
		return st, err
	}
	switch st.State {
	case Attached:
		return st, fmt.Errorf("process %d is traced by process %d (%s); detach there", st.PID, st.Tracer, procfs.Comm(st.Tracer))
	}
	// A debugger may have died with its supervisor, and left breakpoints.
	err = tracee.Repair(st.PID)
	if refused := errors.Is(err, fs.ErrPermission); st.State == Running && refused || err == nil {
		st.State, st.Since = Running, now()
		return st, nil
	} else if !refused {
		return st, fmt.Errorf("take breakpoints out of process %d: %w", st.PID, err)
	}
	// Where Yama forbids the attach, memory may still be within reach; mostly nothing is left there.
	if err := tracee.RestoreText(st.PID); err != nil && !errors.Is(err, fs.ErrPermission) {
		return st, fmt.Errorf("take breakpoints out of process %d: %w; `kill -CONT %d` resumes it as it is", st.PID, err, st.PID)
	}
	fd, err := unix.PidfdOpen(st.PID, 0)
	if err != nil {
		return st, fmt.Errorf("open a pidfd of process %d: %w", st.PID, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0); err != nil {
		own, _ := procfs.ReadStatus(os.Getpid())
		if lacks := own.Lacks(unix.CAP_KILL); err == unix.EPERM && lacks != "" {
			return st, fmt.Errorf("send SIGCONT to process %d: %w: %s here; %s", st.PID, err, lacks, own.Grant())
		}
		return st, fmt.Errorf("send SIGCONT to process %d: %w", st.PID, err)
	}
	st.State, st.Since = Running, now()
	return st, nil
}

// Disconnect drops the attached client of a process and returns it to held.
func Disconnect(pid int) (Status, error) {
	st, err := one(pid, "attached", func(st Status) bool { return st.State == Attached && st.Supervisor != 0 })
	if err != nil {
		return st, err
	}
	if st.Supervisor == 0 {
		return st, fmt.Errorf("process %d has no supervisor: there is no client to disconnect", st.PID)
	}
	return control(st, "disconnect")
}

// controlNameHere is the control socket of the supervisor of a process of this pid namespace.
func controlNameHere(pid int) (string, error) {
	pidns, err := nsutil.PIDNamespace()
	if err != nil {
		return "", fmt.Errorf("find the pid namespace: %w", err)
	}
	return controlName(pidns, pid), nil
}

func control(st Status, op string) (Status, error) { return request{Op: op}.control(st) }

// control has the supervisor of a process do it, and returns what it is then.
func (req request) control(st Status) (Status, error) {
	name, err := controlNameHere(st.PID)
	if err != nil {
		return st, err
	}
	conn, _, r, err := req.send(name, st.PID)
	if err != nil {
		return st, err
	}
	_ = conn.Close()
	return r.Status, nil
}

// Dial connects to the debug port of a process by the supervisor's control socket: no TLS, and no address to be known. With letsRun the process does not
// stay on hold when the connection is lost, unless it is at a crash.
func Dial(pid int, letsRun bool) (*net.UnixConn, error) {
	st, err := one(pid, "open to debuggers", func(st Status) bool { return st.Listen != "" })
	if err != nil {
		return nil, err
	}
	if st.Listen == "" {
		return nil, fmt.Errorf("process %d has no debug port (mode %s)", st.PID, st.Mode)
	}
	name, err := controlNameHere(st.PID)
	if err != nil {
		return nil, err
	}
	conn, _, _, err := request{Op: "stdio", LetsRun: letsRun}.send(name, st.PID)
	return conn, err
}

// recheck is how often Wait reads /proc again: somebody may send SIGCONT by hand or attach
// a debugger of his own, and no kernel event tells a bystander.
const recheck = 500 * time.Millisecond

// ErrTimeout means that Wait's time passed.
var ErrTimeout = errors.New("timed out")

// Wait returns when a process reaches state: the given one, or any. It may be
// called before the process is there. timeout 0 waits for ever.
func Wait(pid int, state State, timeout time.Duration) (Status, error) {
	pidns, err := nsutil.PIDNamespace()
	if err != nil {
		return Status{}, fmt.Errorf("find the pid namespace: %w", err)
	}
	// A new supervisor looks for this socket and touches it.
	newcomers, err := net.ListenUnix("unix", &net.UnixAddr{Name: waiterPrefix(pidns) + strconv.Itoa(os.Getpid()), Net: "unix"})
	if err != nil {
		return Status{}, fmt.Errorf("wait for new processes: %w", err)
	}
	defer newcomers.Close()
	arrived := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := newcomers.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			select {
			case arrived <- struct{}{}:
			default:
			}
		}
	}()
	var late <-chan time.Time
	if timeout > 0 {
		late = time.After(timeout)
	}
	again := time.NewTicker(recheck)
	defer again.Stop()
	changes := make(chan Status)
	watched := map[int]Status{}
	for {
		all, err := Find(pid)
		if err != nil && pid != 0 && state == Exited {
			return Status{PID: pid, State: Exited, Since: now()}, nil
		}
		if err != nil {
			return Status{}, err
		}
		for _, st := range all {
			if st.State == state {
				return st, nil
			}
			if watched[st.PID].Supervisor == 0 && st.Supervisor != 0 {
				go watch(pidns, st, changes)
			}
			watched[st.PID] = st
		}
		// One that was there and is not any more has ended.
		for n, st := range watched {
			if state, _ := processState(n); state == Exited {
				st.State, st.Since = Exited, now()
				watched[n] = st
			}
		}
		for _, st := range watched {
			if st.State == state {
				return st, nil
			}
		}
		select {
		case st := <-changes:
			if st.State == state {
				return st, nil
			}
		case <-arrived:
		case <-again.C:
		case <-late:
			return Status{}, fmt.Errorf("%w after %s: no process became %s", ErrTimeout, timeout, state)
		}
	}
}

// watch sends each change that the supervisor of st tells, the end included.
func watch(pidns uint64, st Status, changes chan<- Status) {
	conn, err := dialControl(controlName(pidns, st.PID), st.PID)
	if err != nil {
		return
	}
	defer conn.Close()
	if json.NewEncoder(conn).Encode(request{Op: "watch"}) != nil {
		return
	}
	for lines := json.NewDecoder(bufio.NewReader(conn)); ; {
		var r reply
		if err := lines.Decode(&r); err != nil {
			gone, _ := processState(st.PID)
			if (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) && gone == Exited {
				st.State, st.Since = Exited, now()
				changes <- st
			}
			return
		}
		st = r.Status
		changes <- st
	}
}
