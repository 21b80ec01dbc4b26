//go:build linux

package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/signals"
	"github.com/envoyshim/envoyshim/nsutil"
)

type nsexecCommand struct {
	PID        int          `name:"pid" placeholder:"N" help:"The process whose namespaces are entered."`
	Pod        command.Word `placeholder:"NAME" help:"A process of this pod, by its host name; --container or --comm tells which of several containers."`
	PodUID     command.Word `name:"pod-uid" placeholder:"UID" help:"A process of the pod with this uid, likewise."`
	Container  command.Word `placeholder:"ID" help:"A process of this container: its id, or the first 4 or more digits."`
	Comm       command.Word `placeholder:"NAME" help:"A process of this command name."`
	Namespaces string       `name:"ns" placeholder:"LIST" default:"pid,mnt,uts" help:"The namespaces to enter: pid, mnt, uts, net, ipc, user, cgroup, time, with commas between them, or all (${default})."`
	Root       bool         `help:"With the process's root directory and working directory, too."`
	Command    []string     `arg:"" name:"cmd" passthrough:"partial" help:"The command and its arguments; a name without a slash is looked up on PATH, in the namespaces entered."`
}

// Help says what the command gets.
func (c *nsexecCommand) Help() string {
	return "Of several processes in one container the oldest is meant; several containers, the pause container aside, are listed to choose from. The exit status is the command's, 127 when it is not found there, 126 when it cannot be executed. Signals and a terminal reach it. It keeps this network unless --ns names net."
}

func (c *nsexecCommand) Run(s *command.Streams) error {
	argv := command.AfterDashes(c.Command)
	if len(argv) == 0 {
		return command.Usage(`expected "<cmd> ..."`)
	}
	set, err := nsutil.ParseSet(c.Namespaces)
	if err != nil {
		return command.Usage("--ns: %w", err)
	}
	target, err := c.target()
	if err != nil {
		return err
	}
	defer target.Close()
	status, err := (&nsutil.Command{
		Target: target.PIDFD(), Namespaces: set, Root: c.Root,
		Argv: argv, Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	}).Run()
	var exec *nsutil.ExecError
	switch {
	case errors.As(err, &exec) && (exec.Err == unix.ENOENT || exec.Err == unix.ENOTDIR):
		return command.WithStatus(127, err)
	case exec != nil:
		return command.WithStatus(126, err)
	case err != nil:
		return err
	}
	if status.Signaled() {
		signals.Die(unix.Signal(status.Signal()))
	}
	s.Status = signals.ExitStatus(status)
	return nil
}

// target is the process whose namespaces are meant.
func (c *nsexecCommand) target() (*nsutil.Process, error) {
	q := nsutil.Query{Pod: string(c.Pod), PodUID: string(c.PodUID), Container: string(c.Container), Comm: string(c.Comm)}
	switch {
	case (q == nsutil.Query{}) == (c.PID == 0):
		return nil, command.Usage("say whose namespaces: --pid, or one or more of --pod, --pod-uid, --container, --comm")
	case c.PID != 0:
		return nsutil.Open(c.PID)
	}
	if err := q.Check(); err != nil {
		return nil, command.Usage("%w", err)
	}
	found, err := nsutil.Find(q)
	if err != nil {
		return nil, err
	}
	oldest, err := nsutil.Oldest(found)
	nsutil.CloseAll(slices.DeleteFunc(found, func(p *nsutil.Process) bool { return p == oldest }))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", q, err)
	}
	return oldest, nil
}
