package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
)

// podFlags say which container of which cluster.
type podFlags struct {
	kube.Flags
	Container string `name:"container" short:"c" placeholder:"NAME" help:"The container; else the one where something is held."`
}

// pidFlag says which process of it.
type pidFlag struct {
	PID int `name:"pid" placeholder:"N" help:"The process, by its pid in the container; needed when several fit."`
}

// podArg is a pod.
type podArg struct {
	Pod string `arg:"" name:"pod" help:"POD, or deploy/NAME, sts/NAME, ds/NAME, rs/NAME, job/NAME: its newest pod in which something is held."`
}

// interruptible is done at Ctrl-C, and at the other signals that ask a program to end.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

// plainly says what Ctrl-C does.
func plainly(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// target connects, and reads what the user has named.
func (f podFlags) target(pod string) (*kube.Cluster, kube.Target, error) {
	t, err := kube.ParseTarget(pod)
	if err != nil {
		return nil, t, command.Usage("%w", err)
	}
	cluster, err := f.Connect()
	return cluster, t, err
}

// look finds what envoyshim has in the pod.
func (f podFlags) look(ctx context.Context, pod string) (*kube.Cluster, kube.Found, error) {
	cluster, t, err := f.target(pod)
	if err != nil {
		return nil, kube.Found{}, err
	}
	found, err := cluster.Look(ctx, t, f.Container)
	return cluster, found, err
}

// steer runs resume or disconnect, and reports the process.
func (f podFlags) steer(s *command.Streams, pod, verb string, pid int, asJSON bool) error {
	ctx, stop := interruptible()
	defer stop()
	cluster, found, err := f.look(ctx, pod)
	if err != nil {
		return err
	}
	after, err := cluster.Steer(ctx, found, verb, pid)
	if err != nil {
		return err
	}
	return report(s, asJSON, after)
}

// report prints what was found in one container, as JSON what envoyshim prints there.
func report(s *command.Streams, asJSON bool, found kube.Found) error {
	if asJSON {
		return s.JSON(found.Processes)
	}
	return table(s, false, found)
}

// table prints a line a process, and one for a container without.
func table(s *command.Streams, namespaces bool, all ...kube.Found) error {
	out := s.Table()
	head := "POD\tCONTAINER\tPID\tSTATE\tMODE\tLISTEN\tSINCE\tEXE"
	if namespaces {
		head = "NAMESPACE\t" + head
	}
	fmt.Fprintln(out, head)
	for _, f := range all {
		where := f.Pod + "\t" + cmp.Or(f.Container, "-")
		if namespaces {
			where = f.Namespace + "\t" + where
		}
		switch {
		case f.Problem != "":
			fmt.Fprintf(out, "%s\t-\t%s\n", where, f.Problem)
		case len(f.Processes) == 0:
			fmt.Fprintf(out, "%s\t-\tnothing is under envoyshim\n", where)
		}
		for _, p := range f.Processes {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", where, pid(p), state(p), cmp.Or(p.Mode, "-"), cmp.Or(p.Listen, "-"), since(p), cmp.Or(p.Exe, "-"))
		}
	}
	return out.Flush()
}

func state(p kube.Process) string {
	switch {
	case p.Client != "":
		return fmt.Sprintf("%s (%s)", p.State, p.Debugger)
	case p.State == kube.Held && p.Crash != nil:
		return fmt.Sprintf("%s (%s)", p.State, p.Crash.Signal)
	}
	return p.State
}

func pid(p kube.Process) string {
	if p.PID == 0 {
		return "-"
	}
	return fmt.Sprint(p.PID)
}

func since(p kube.Process) string {
	if p.Since.IsZero() {
		return "-"
	}
	return p.Since.Format(time.RFC3339)
}
