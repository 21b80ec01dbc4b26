package tracee_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// A parent waits for a line, and then executes something. It is nobody's child that follows it.
type parent struct {
	t   *testing.T
	pid int
	in  io.WriteCloser
	out *bufio.Reader
	end func()
}

// startParent starts a shell that executes a script, with words as its arguments, once go is called.
func startParent(t *testing.T, script string, words ...string) *parent {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `sh -c 'echo $$; read go; '"$0" "$@" <&3 & wait $!; echo "status $?"`, script, "sh"}, words...)...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{r}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	p := &parent{t: t, in: w, out: bufio.NewReader(out), end: func() {
		_ = cmd.Process.Kill()
		_ = out.Close()
	}}
	t.Cleanup(func() {
		if t.Failed() && p.pid != 0 {
			_ = unix.Kill(p.pid, unix.SIGKILL)
			p.end()
		}
		w.Close()
		_ = cmd.Wait()
	})
	if p.pid, err = strconv.Atoi(p.line()); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *parent) line() string {
	p.t.Helper()
	stuck := time.AfterFunc(patience, func() {
		fmt.Fprintf(os.Stderr, "%s is stuck:\n%s", p.t.Name(), familyStates())
		p.end()
	})
	line, err := p.out.ReadString('\n')
	stuck.Stop()
	if err != nil {
		p.t.Fatalf("%q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (p *parent) begin() {
	p.t.Helper()
	if _, err := io.WriteString(p.in, "go\n"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *parent) says(want string) {
	p.t.Helper()
	if got := p.line(); got != want {
		p.t.Fatalf("it says %q, want %q", got, want)
	}
}

// follow holds what is executed with the word "caught" as its last, and tells its pid.
func (p *parent) follow(count int) (*tracee.Follower, chan int) {
	p.t.Helper()
	caught := make(chan int, 1000)
	f, err := tracee.Follow(p.pid, func(pid int, hold func() error) (bool, error) {
		if args := procfs.Args(pid); len(args) != 4 || args[3] != "caught" {
			return true, nil
		}
		err := hold()
		caught <- pid
		count--
		return count != 0, err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(f.Stop)
	return f, caught
}

func next(t *testing.T, caught chan int) int {
	t.Helper()
	select {
	case pid := <-caught:
		awaitState(t, pid, 'T')
		return pid
	case <-time.After(patience):
		t.Fatal("nothing was caught")
	}
	return 0
}

// untouched fails unless a process stands at its first instruction, traced by nobody.
func untouched(t *testing.T, pid int) {
	t.Helper()
	if st, err := procfs.ReadStatus(pid); err != nil || st.TracerPid != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(text))
	if pc, err := strconv.ParseUint(words[len(words)-1], 0, 64); err != nil || pc != entry(t, family) {
		t.Fatalf("it is at %#x, want %#x, %v", pc, entry(t, family), err)
	}
}

func TestFollowCatchesWhateverWayItIsExecuted(t *testing.T) {
	for _, way := range []string{"fork", "vfork", "spawn", "thread", "nonleader", "sibling", "stopped"} {
		t.Run(way, func(t *testing.T) {
			p := startParent(t, `"$@"; exit $?`, family, way, family, "exit", "23", "caught")
			f, caught := p.follow(1)
			p.begin()
			pid := next(t, caught)
			<-f.Done()
			untouched(t, pid)
			if err := f.Err(); err != nil {
				t.Fatal(err)
			}
			_ = unix.Kill(pid, unix.SIGCONT)
			p.says("status 23")
		})
	}
}

func TestFollowCatchesInNewNamespacesAndSessions(t *testing.T) {
	for way, script := range map[string]string{
		"PID 1":    `unshare -pfmu --mount-proc "$@" & wait $!; exit $?`,
		"a daemon": family + ` daemon "$@"; read done; exit 23`,
		"subshell": `( ( (: ; "$@"; exit $?); exit $?) ; exit $?)`,
		"a pipe":   `echo | "$@"; exit $?`,
		"exec":     `exec "$@"`,
	} {
		t.Run(way, func(t *testing.T) {
			p := startParent(t, script, family, "exit", "23", "caught")
			_, caught := p.follow(0)
			p.begin()
			pid := next(t, caught)
			untouched(t, pid)
			if way == "PID 1" {
				if st, err := procfs.ReadStatus(pid); err != nil || st.NSpid != 1 {
					t.Fatalf("it is not PID 1: %+v, %v", st, err)
				}
			}
			_ = unix.Kill(pid, unix.SIGCONT)
			if way == "a daemon" {
				p.begin()
			}
			p.says("status 23")
		})
	}
}

// What one does that nobody caught ends as without a follower: exit statuses, signals, stops. So does what is caught, once it goes on.
func TestFollowIsNoticedByNobody(t *testing.T) {
	p := startParent(t, `"$1" life 100; echo "lived $?"; shift; "$@"; exit $?`, family, family, "exit", "3", "caught")
	f, caught := p.follow(0)
	p.begin()
	p.says("lived 0")
	pid := next(t, caught)
	_ = unix.Kill(pid, unix.SIGCONT)
	p.says("status 3")
	<-f.Done()
	if err := f.Err(); !errors.Is(err, tracee.ErrNobody) {
		t.Fatal(err)
	}
}

func TestFollowTakesAllThreadsIn(t *testing.T) {
	// Its threads come and go while it is seized, and one of them executes at last.
	for range 30 {
		p := startParent(t, `exec "$1" threads`, family)
		p.begin()
		p.says("ready")
		_, caught := p.follow(1)
		_ = unix.Kill(p.pid, unix.SIGUSR1)
		pid := next(t, caught)
		untouched(t, pid)
		_ = unix.Kill(pid, unix.SIGCONT)
		p.says("status 0")
	}
}

func TestStoppedFollowerLeavesNothingBehind(t *testing.T) {
	for range 100 {
		p := startParent(t, `exec "$1" life 3`, family)
		f, _ := p.follow(0)
		p.begin()
		time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // wherever it is then
		f.Stop()
		if traced := tracedByThis(t); len(traced) != 0 {
			t.Fatalf("still traced: %v", traced)
		}
		p.says("status 0")
	}
}

// tracedByThis are the processes that a thread of this process traces.
func tracedByThis(t *testing.T) (pids []int) {
	own, err := procfs.Threads(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range all() {
		if st, err := procfs.ReadStatus(pid); err == nil && st.TracerPid != 0 && (st.TracerPid == os.Getpid() || slices.Contains(own, st.TracerPid)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func all() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

const followVariable = "TRACEE_TEST_FOLLOW"

// followForEver is another process that follows, and is killed.
func followForEver(pid string) {
	n, err := strconv.Atoi(pid)
	if err == nil {
		_, err = tracee.Follow(n, func(int, func() error) (bool, error) { return true, nil })
	}
	fmt.Println("following", err)
	select {}
}

// startFollower has another process follow, which can be killed.
func startFollower(t *testing.T, pid int) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), followVariable+"="+strconv.Itoa(pid))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "following <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func kill(cmd *exec.Cmd) {
	time.Sleep(time.Duration(rand.IntN(30)) * time.Millisecond) // wherever it is then
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func TestKilledFollowerLeavesNothingBehind(t *testing.T) {
	for range 100 {
		p := startParent(t, `exec "$1" life 3`, family)
		cmd := startFollower(t, p.pid)
		p.begin()
		kill(cmd)
		p.says("status 0")
	}
}

// A signal that a follower has seen and not passed on yet comes nevertheless when it is killed, and once.
func TestKilledFollowerLosesNoSignal(t *testing.T) {
	p := startParent(t, `exec "$1" signals`, family)
	p.begin()
	p.says("ready")
	for range 100 {
		kill(startFollower(t, p.pid))
	}
	_ = unix.Kill(p.pid, unix.SIGUSR1)
	var sent, came int
	if _, err := fmt.Sscanf(p.line(), "%d sent, %d came", &sent, &came); err != nil || sent == 0 || came != sent {
		t.Fatalf("%d sent, %d came, %v", sent, came, err)
	}
	p.says("status 0")
}

func TestWhoCannotBeFollowed(t *testing.T) {
	never := func(int, func() error) (bool, error) { return true, nil }
	p := startParent(t, `exit 4`)
	f, err := tracee.Follow(p.pid, never)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tracee.Follow(p.pid, never); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "already traced by process") {
		t.Fatal(err)
	}
	f.Stop()
	f.Stop()
	f, err = tracee.Follow(p.pid, never)
	if err != nil {
		t.Fatal(err)
	}
	p.begin()
	p.says("status 4")
	<-f.Done()
	if err := f.Err(); !errors.Is(err, tracee.ErrNobody) {
		t.Fatal(err)
	}
	if _, err := tracee.Follow(p.pid, never); !errors.Is(err, unix.ESRCH) {
		t.Fatal(err)
	}
	if _, err := tracee.Follow(os.Getpid(), never); !errors.Is(err, unix.EPERM) {
		t.Fatal(err)
	}
}

// familyStates says what each of a family is doing.
func familyStates() string {
	var b strings.Builder
	for _, pid := range all() {
		st, _ := procfs.ReadStat(pid)
		status, _ := procfs.ReadStatus(pid)
		if st.Comm == "family" {
			wchan, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
			fmt.Fprintf(&b, "%d %c parent %d tracer %d in %s %q\n", pid, st.State, st.PPID, status.TracerPid, wchan, procfs.Args(pid))
		}
	}
	return b.String()
}
