package test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a session of its own on a pseudo-terminal (pty(7)), without echo.
type terminal struct {
	*process          // its leader
	master   *os.File // of the pair
	read     int      // lines of out that were awaited
}

func startOnTerminal(t testing.TB, argv ...string) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { _ = master.Close() })
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer slave.Close()
	mode, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	must(t, err)
	mode.Lflag &^= unix.ECHO
	must(t, unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, mode))

	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TERM=dumb", "PS1=", "PS2="}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	p := &terminal{process: &process{t: t, cmd: cmd, out: newLines(), err: newLines()}, master: master}
	go p.out.readFrom(master)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = p.wait()
		if t.Failed() {
			t.Logf("terminal of %v:\n%s", argv, p.out)
		}
	})
	return p
}

// typed types text.
func (p *terminal) typed(text string) {
	p.t.Helper()
	_, err := p.master.WriteString(text)
	must(p.t, err)
}

// await waits for a line with text, behind the one awaited before.
func (p *terminal) await(text string) string {
	p.t.Helper()
	for ; ; p.read++ {
		line, ok := p.out.at(p.read)
		if !ok {
			p.t.Fatalf("no line with %q came", text)
		}
		if strings.Contains(line, text) {
			p.read++
			return line
		}
	}
}

// foreground is the pid of the leader of the process group that has the terminal.
func (p *terminal) foreground() int {
	p.t.Helper()
	group, err := unix.IoctlGetInt(int(p.master.Fd()), unix.TIOCGPGRP)
	must(p.t, err)
	return group
}
