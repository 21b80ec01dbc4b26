//go:build linux

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	"github.com/envoyshim/envoyshim/internal/plain"
	"github.com/envoyshim/envoyshim/launcher"
)

type loglevelCommand struct {
	PID   int          `name:"pid" placeholder:"N" help:"The Envoy; needed when several are here, or none is under envoyshim."`
	Admin command.Word `placeholder:"ADDR" help:"Its admin port, HOST:PORT or the path of a Unix socket; else it is looked for."`
	JSON  bool         `name:"json" help:"Print JSON."`
	Words []string     `arg:"" optional:"" name:"level" help:"LEVEL for all loggers, LOGGER=LEVEL for one; none shows what there is. With the fine-grain logger LOGGER is a file or a pattern of files, as source/server/*."`
}

// changed is what `loglevel --json` prints after a change.
type changed struct {
	FineGrain bool            `json:"fine_grain"`
	Changed   []admin.Changed `json:"changed"`
	Patterns  []admin.Logger  `json:"patterns,omitempty"` // all that the fine-grain logger goes by now; the first that fits a file counts
}

func (c *loglevelCommand) Run(s *command.Streams) error {
	change, err := admin.ParseChange(c.Words)
	if err != nil {
		return command.Usage("%w", err)
	}
	if err := admin.CheckAddress(string(c.Admin)); err != nil {
		return command.Usage("--admin: %w", err)
	}
	pid, err := c.process()
	if err != nil {
		return err
	}
	client, err := admin.Start(pid, string(c.Admin))
	if err != nil {
		return err
	}
	defer client.Close()
	before, err := client.Logging(context.Background(), admin.Change{})
	if err == nil {
		err = before.Check(change)
	}
	if err != nil {
		return err
	}
	if len(c.Words) == 0 {
		return c.show(s, before)
	}
	after, err := client.Logging(context.Background(), change)
	if err != nil {
		return err
	}
	return c.tell(s, change, before, after)
}

// process is the Envoy that is meant: with only an address, none.
func (c *loglevelCommand) process() (int, error) {
	if c.PID != 0 || c.Admin != "" {
		return c.PID, nil
	}
	all, err := launcher.Find(0)
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(st launcher.Status) bool { return st.Name == "pilot-agent" })
	switch len(all) {
	case 0:
		return 0, command.Usage("no Envoy is under envoyshim here: name one by --pid, or its admin port by --admin")
	case 1:
		return all[0].PID, nil
	}
	var pids []string
	for _, st := range all {
		pids = append(pids, strconv.Itoa(st.PID))
	}
	return 0, command.Usage("several processes are under envoyshim here: choose one by --pid: %s", strings.Join(pids, ", "))
}

// unlisted explains a list that is short, or empty.
const unlisted = "the fine-grain logger is on: Envoy lists files once they have logged, and Envoy 1.40 hardly any; their levels can be changed all the same"

func (c *loglevelCommand) show(s *command.Streams, levels admin.Levels) error {
	if c.JSON {
		return s.JSON(levels)
	}
	if levels.FineGrain {
		fmt.Fprintln(s.Err, unlisted)
	}
	return table(s, levels.Loggers)
}

func (c *loglevelCommand) tell(s *command.Streams, change admin.Change, before, after admin.Levels) error {
	r := changed{FineGrain: after.FineGrain, Changed: after.Since(before)}
	if after.FineGrain {
		r.Patterns = change.Loggers
		if change.Level != "" {
			r.Patterns = append(r.Patterns, admin.Logger{Name: "*", Level: change.Level})
		}
	}
	if c.JSON {
		return s.JSON(r)
	}
	for _, line := range after.Unmatched(change) {
		fmt.Fprintln(s.Err, plain.Text(line))
	}
	if after.FineGrain {
		fmt.Fprintln(s.Err, "the fine-grain logger is on: these are all its patterns now, the first that fits a file counts")
		if err := table(s, r.Patterns); err != nil {
			return err
		}
	}
	if len(r.Changed) == 0 {
		if !after.FineGrain {
			fmt.Fprintln(s.Err, "no level has changed")
		}
		return nil
	}
	t := s.Table()
	fmt.Fprintln(t, "LOGGER\tBEFORE\tAFTER")
	for _, l := range r.Changed {
		fmt.Fprintf(t, "%s\t%s\t%s\n", plain.Text(l.Name), plain.Text(cmp.Or(l.Before, "-")), plain.Text(l.After))
	}
	return t.Flush()
}

// table prints loggers, or patterns.
func table(s *command.Streams, loggers []admin.Logger) error {
	if len(loggers) == 0 {
		return nil
	}
	t := s.Table()
	fmt.Fprintln(t, "LOGGER\tLEVEL")
	for _, l := range loggers {
		fmt.Fprintf(t, "%s\t%s\n", plain.Text(l.Name), plain.Text(l.Level))
	}
	return t.Flush()
}
