//go:build linux

package cli

import (
	"fmt"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

type statusCommand struct {
	PID  int  `name:"pid" placeholder:"N" help:"Only this process."`
	JSON bool `name:"json" help:"Print JSON: an array, one object a process."`
}

func (c *statusCommand) Run(s *command.Streams) error {
	found, err := launcher.Find(c.PID)
	if err != nil {
		return err
	}
	return report(s, c.JSON, found...)
}

// report prints processes as a table or as JSON.
func report(s *command.Streams, asJSON bool, found ...launcher.Status) error {
	if asJSON {
		if found == nil {
			found = []launcher.Status{}
		}
		return s.JSON(found)
	}
	if len(found) == 0 {
		fmt.Fprintln(s.Err, "no process is under envoyshim here")
		return nil
	}
	table := s.Table()
	fmt.Fprintln(table, "PID\tSTATE\tMODE\tLISTEN\tSINCE\tSUPERVISOR\tEXE\tBUILD-ID")
	for _, st := range found {
		state := string(st.State)
		switch {
		case st.Client != "":
			state += fmt.Sprintf(" (%s %s)", st.Debugger, st.Client)
		case st.State == launcher.Held && st.Crash != nil:
			state += fmt.Sprintf(" (%s)", st.Crash.Signal)
		case st.Tracer != 0:
			state += fmt.Sprintf(" (process %d)", st.Tracer)
		}
		supervisor := fmt.Sprint(st.Supervisor)
		if st.Supervisor == 0 {
			supervisor = "gone"
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", st.PID, state, st.Mode, or(st.Listen, "-"), st.Since.Format(time.RFC3339), supervisor, or(st.Exe, "-"), or(st.BuildID, "-"))
	}
	return table.Flush()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
