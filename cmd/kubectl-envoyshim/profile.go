package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
	"github.com/envoyshim/envoyshim/internal/observe/flamegraph"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/observe/profile/pprof"
	"github.com/envoyshim/envoyshim/internal/wholefile"
)

type profileCommand struct {
	Pod     profilePodCommand `cmd:"" default:"withargs" help:"Sample a process of a pod, from its first instruction on where it is held."`
	Convert convertCommand    `cmd:"" help:"Make a profile of a file of perf record, or a flame graph of a profile."`
}

// flameFlags say what picture is drawn.
type flameFlags struct {
	Flame string `name:"flamegraph" complete:"file" placeholder:"FILE" help:"Draw a flame graph there, as SVG; - is standard output."`
	Type  string `name:"type" placeholder:"TYPE" help:"What of the profile it shows, as samples, cpu or offcpu; else the profile's default."`
}

// draw draws one where it was asked for.
func (f flameFlags) draw(s *command.Streams, p *profile.Profile) error {
	if f.Flame == "" {
		return nil
	}
	var picture bytes.Buffer
	if err := flamegraph.Write(&picture, p, flamegraph.Options{Type: f.Type}); err != nil {
		return err
	}
	return writeOut(s, f.Flame, picture.Bytes())
}

func (f flameFlags) check(output string) error {
	switch {
	case f.Type != "" && f.Flame == "":
		return command.Usage("--type is for --flamegraph")
	case f.Flame == "-" && output == "-":
		return command.Usage("standard output is for one of them: -o or --flamegraph")
	}
	return nil
}

type profilePodCommand struct {
	podFlags
	pidFlag
	flameFlags
	Frequency int           `placeholder:"HZ" help:"Samples of a running thread in a second."`
	Duration  time.Duration `placeholder:"D" help:"End after this long (Go duration)."`
	Until     string        `enum:"live,exit," default:"" placeholder:"STATE" help:"End when Envoy is live, or at the end of the process: live or exit."`
	Method    string        `enum:"auto,perf,ptrace," default:"" placeholder:"METHOD" help:"auto, perf (perf_event_open) or ptrace."`
	Output    string        `short:"o" required:"" complete:"file" placeholder:"FILE" help:"Write the profile there, in pprof's format; - is standard output."`
	podArg
}

// Run samples in the container and writes here: a pod may have no disk to write to. The first Ctrl-C ends the sampling, the second one this program.
func (c *profilePodCommand) Run(s *command.Streams) error {
	if err := c.check(c.Output); err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	cluster, t, err := c.target(c.Pod)
	if err != nil {
		return err
	}
	found, p, err := (&kube.Way{Cluster: cluster, Target: t, Container: c.Container, PID: c.PID}).Find(ctx)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, stop)
	var out bytes.Buffer
	err = cluster.Command(ctx, found, nil, &out, s.Err, append([]string{"profile"}, c.args(p.PID)...)...)
	if failed := (*kube.Failed)(nil); errors.As(err, &failed) {
		s.Status = failed.Status // its words have come already
		if out.Len() == 0 {
			return nil
		} // else it is what there was until something failed
	} else if err != nil {
		return err
	}
	if err := writeOut(s, c.Output, out.Bytes()); err != nil || c.Flame == "" {
		return err
	}
	sampled, err := pprof.Read(&out)
	if err != nil {
		return err
	}
	return c.draw(s, sampled)
}

// args are the flags of envoyshim profile in the container.
func (c *profilePodCommand) args(pid int) []string {
	args := []string{fmt.Sprintf("--pid=%d", pid), "--output=-"}
	for _, f := range []struct {
		name, value string
		given       bool
	}{
		{"frequency", fmt.Sprint(c.Frequency), c.Frequency != 0},
		{"duration", c.Duration.String(), c.Duration != 0},
		{"until", c.Until, c.Until != ""},
		{"method", c.Method, c.Method != ""},
	} {
		if f.given {
			args = append(args, "--"+f.name+"="+f.value)
		}
	}
	return args
}

// writeOut writes a file whole or not at all, or standard output.
func writeOut(s *command.Streams, path string, content []byte) error {
	if path == "-" {
		_, err := s.Out.Write(content)
		return err
	}
	return wholefile.Write(path, content, 0o644)
}
