//go:build linux

package cli

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/launcher"
)

// observeCommand shows what trace and profile are made of: what the supervisor says, a line of JSON each.
type observeCommand struct {
	PID          int      `name:"pid" placeholder:"N" help:"The process."`
	At           []string `name:"at" sep:"none" placeholder:"FUNC" help:"A function to tell of."`
	Syscall      []string `name:"syscall" placeholder:"NAME" help:"A system call to tell of."`
	Frequency    int      `name:"frequency" placeholder:"HZ" help:"Sample by ptrace instead."`
	History      bool     `name:"history" help:"Print what became of the process, and nothing else."`
	KeptProfile  bool     `name:"kept-profile" help:"Print the profile that the supervisor keeps, when it is made."`
	LeaveRunning bool     `name:"leave-running" help:"Do not end the ELF that was started here."`
	Command      []string `arg:"" optional:"" name:"elf" passthrough:"partial" help:"The ELF to start, and its arguments."`
}

func (c *observeCommand) Run(s *command.Streams) error {
	lines := json.NewEncoder(s.Out)
	switch {
	case c.History:
		all, err := launcher.History(c.PID)
		for _, t := range all {
			_ = lines.Encode(t)
		}
		return err
	case c.KeptProfile:
		f, err := launcher.KeptProfile(c.PID, true)
		if err == nil {
			defer f.Close()
			_, err = io.Copy(s.Out, f)
		}
		return err
	}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGINT, unix.SIGTERM)
	var child *launcher.Child
	if len(c.Command) > 0 {
		var err error
		if child, err = launcher.StartHeld(command.AfterDashes(c.Command), nil); err != nil {
			return err
		}
		c.PID = child.PID
	}
	stream, err := launcher.Observe(c.PID, c.order())
	if err != nil {
		return err
	}
	defer stream.Close()
	go func() {
		<-asked
		stream.Stop()
	}()
	for {
		e, err := stream.Next()
		switch {
		case errors.Is(err, io.EOF) && child != nil:
			if !c.LeaveRunning {
				child.End()
			}
			s.Status = child.ExitStatus()
			return nil
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := lines.Encode(e); err != nil {
			return err
		}
	}
}

func (c *observeCommand) order() observe.Order {
	if c.Frequency > 0 {
		return observe.Order{Sample: &observe.Sample{Frequency: c.Frequency}}
	}
	t := &observe.Trace{Syscalls: c.Syscall}
	for _, name := range c.At {
		t.Points = append(t.Points, observe.Point{Name: name, Return: true})
	}
	return observe.Order{Trace: t}
}
