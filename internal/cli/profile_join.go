//go:build linux

package cli

import (
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/launcher"
)

// What other parts do: nil where they are not there yet.
var (
	untilLive  func(ctx context.Context, pid int, admin string) error
	drawFlames func(w io.Writer, p *profile.Profile) error
)

// held is an ELF that this command has started, on hold.
type held struct {
	pid int
	cmd *exec.Cmd
}

// endTime is what a program gets to end by itself.
const endTime = 10 * time.Second

// startHeld starts an ELF on hold.
func startHeld(ctx context.Context, argv []string) (*held, error) {
	cmd := exec.Command("/proc/self/exe", append([]string{"run", "--mode", "pause", "--log-level", "error", "--on-failure", "exit", "--"}, argv...)...)
	cmd.Args[0] = "envoyshim"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &held{cmd.Process.Pid, cmd}
	ends := make(chan error, 1)
	go func() {
		_, err := launcher.Wait(h.pid, launcher.Held, 20*time.Second)
		ends <- err
	}()
	select {
	case err := <-ends:
		if err != nil {
			h.end()
		}
		return h, err
	case <-ctx.Done():
		h.end()
		return nil, ctx.Err()
	}
}

// end ends it.
func (h *held) end() {
	_ = h.cmd.Process.Signal(syscall.SIGTERM)
	_ = h.cmd.Process.Signal(syscall.SIGCONT) // it may be on hold still
	late := time.AfterFunc(endTime, func() { _ = h.cmd.Process.Kill() })
	_ = h.cmd.Wait()
	late.Stop()
}
