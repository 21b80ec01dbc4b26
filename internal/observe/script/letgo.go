//go:build linux

package script

import (
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/envoyshim/envoyshim/internal/group"
	"github.com/envoyshim/envoyshim/internal/rsp"
)

// letGo lets a process run that a debugger has left on hold: it attaches as the least of gdb's clients and detaches (GDB manual, "Packets", D). While the
// port has not missed the debugger yet it refuses: then again.
func letGo(stdio []string) error {
	end := time.Now().Add(patience)
	for {
		err := detach(stdio, time.Until(end))
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(50 * time.Millisecond) // there is no event for it on this side of the port
	}
}

func detach(stdio []string, limit time.Duration) error {
	if len(stdio) == 0 {
		return errNoPort
	}
	cmd := exec.Command(stdio[0], stdio[1:]...)
	group.Lead(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }()
	defer group.Kill(cmd.Process)
	stuck := time.AfterFunc(limit, func() { group.Kill(cmd.Process) })
	defer stuck.Stop()
	packets := packets{in: in, out: out}
	for _, ask := range []string{"qSupported", "?", "D"} {
		answer, err := packets.ask(ask)
		if err != nil {
			return err
		}
		if ask == "D" && answer != "OK" {
			return fmt.Errorf("detach: %q", answer)
		}
	}
	return nil
}

// packets is a client's end of the remote protocol.
type packets struct {
	in  io.Writer
	out io.Reader
	got rsp.Splitter
	buf [4 << 10]byte
}

// ask sends a packet and returns the answer.
func (p *packets) ask(payload string) (string, error) {
	if _, err := p.in.Write(append([]byte{'+'}, rsp.Packet(payload)...)); err != nil {
		return "", err
	}
	for {
		token, err := p.got.Next()
		if err != nil {
			return "", err
		}
		if token == nil {
			n, err := p.out.Read(p.buf[:])
			if n == 0 && err != nil {
				return "", fmt.Errorf("the debug port closed: %w", err)
			}
			p.got.Write(p.buf[:n])
			continue
		}
		if token[0] == '$' {
			return string(rsp.Payload(token)), nil
		}
	}
}
