//go:build linux

package cli

import (
	"errors"
	"fmt"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/nsutil"
)

type findCommand struct {
	PID       int          `name:"pid" placeholder:"N" help:"The process of this pid."`
	Pod       command.Word `placeholder:"NAME" help:"Processes whose host name is this pod's. A pod with hostNetwork has its node's: use --pod-uid."`
	PodUID    command.Word `name:"pod-uid" placeholder:"UID" help:"Processes in the cgroup of this pod (metadata.uid; of a static pod, the annotation kubernetes.io/config.hash)."`
	Container command.Word `placeholder:"ID" help:"Processes in the cgroup of this container: its id, also as 'RUNTIME://ID', or the first 4 or more digits."`
	Comm      command.Word `placeholder:"NAME" help:"Processes of this command name, of which the kernel keeps 15 bytes."`
	Exe       command.Word `placeholder:"PATH" help:"Processes that execute this file, by its path in their own mount namespace, behind all symbolic links."`
	JSON      bool         `name:"json" help:"Print JSON: an array, one object a process."`
}

// Help says how the flags go together, and where it works.
func (c *findCommand) Help() string {
	return "All that is given must be so. On the node, or in a container that shares its pids (hostPID: true), it finds the processes of all pods; in another " +
		"container, that one's own. Host names, and so --pod, need CAP_SYS_ADMIN. Nothing found: exit status 1."
}

func (c *findCommand) Run(s *command.Streams) error {
	q := nsutil.Query{PID: c.PID, Pod: string(c.Pod), PodUID: string(c.PodUID), Container: string(c.Container), Comm: string(c.Comm), Exe: string(c.Exe)}
	if err := q.Check(); err != nil {
		return command.Usage("%w", err)
	}
	if len(q.Comm) > nsutil.CommLen {
		fmt.Fprintf(s.Err, "the kernel keeps %d bytes of a command name: looking for %s\n", nsutil.CommLen, nsutil.Printable(q.Comm[:nsutil.CommLen]))
	}
	found, err := nsutil.Find(q)
	defer nsutil.CloseAll(found)
	switch {
	case c.JSON && errors.Is(err, nsutil.ErrNotFound):
		return errors.Join(err, s.JSON([]*nsutil.Process{}))
	case err != nil:
		return err
	case c.JSON:
		return s.JSON(found)
	}
	table := s.Table()
	fmt.Fprintln(table, "PID\tNSPID\tSTATE\tCOMM\tPOD\tCONTAINER\tEXE\tBUILD-ID")
	for _, p := range found {
		state := p.State
		if p.Tracer != 0 {
			state += fmt.Sprintf(" (process %d)", p.Tracer)
		}
		fmt.Fprintf(table, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", p.PID, p.NSPID, state, nsutil.Printable(p.Comm), or(nsutil.Printable(p.Pod), "-"),
			or(p.Container[:min(12, len(p.Container))], "-"), or(nsutil.Printable(p.Exe), "-"), or(p.BuildID, "-"))
	}
	return table.Flush()
}
