package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/connect"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/kube"
)

type attachCommand struct {
	podFlags
	pidFlag
	Wait   bool   `name:"wait" help:"Wait until something is held: the pod need not be there yet, and may be replaced."`
	Via    string `name:"via" enum:"exec,port-forward" default:"exec" help:"exec (${default}; create on pods/exec), or port-forward (create on pods/portforward): the API's, which takes pods that are Pending, too."`
	Port   int    `name:"port" placeholder:"N" help:"With port-forward: the debug port in the pod; else ENVOYSHIM_LISTEN's in its spec, or 2159."`
	Listen string `name:"listen" placeholder:"ADDR" help:"HOST:PORT for debuggers on this machine (127.0.0.1:2159; with --gdb and --lldb a free port)."`
	GDB    bool   `name:"gdb" xor:"what" help:"Start gdb."`
	LLDB   bool   `name:"lldb" xor:"what" help:"Start lldb."`
	Print  bool   `name:"print" xor:"what" help:"Print what to type, and leave."`
	ELF    string `name:"elf" complete:"file" placeholder:"FILE" help:"The Envoy with symbols, for the debugger; its build-id is compared with the pod's."`
	JSON   bool   `name:"json" help:"Print the process and the port as JSON."`
	podArg
	Args []string `arg:"" optional:"" name:"arg" passthrough:"partial" help:"With --gdb or --lldb: arguments for it, after --."`
}

// attachment is what attach reports.
type attachment struct {
	Namespace string       `json:"namespace"`
	Pod       string       `json:"pod"`
	Container string       `json:"container"`
	Process   kube.Process `json:"process"`
	Listen    string       `json:"listen,omitempty"` // for debuggers on this machine
	Commands  commandLines `json:"commands"`
}

type commandLines struct {
	GDB  string `json:"gdb"`
	LLDB string `json:"lldb"`
}

func (c *attachCommand) Run(s *command.Streams) error {
	args := c.Args
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	switch {
	case len(args) > 0 && !c.GDB && !c.LLDB:
		return command.Usage("arguments are for --gdb or --lldb")
	case c.JSON && (c.GDB || c.LLDB):
		return command.Usage("--json is not for --gdb and --lldb, which have the terminal")
	case c.Via == "exec" && c.Port != 0:
		return command.Usage("--port is for --via port-forward")
	case c.Via != "exec" && (c.Wait || c.PID != 0):
		return command.Usage("--wait and --pid need --via exec: a port cannot be asked for them")
	}
	ctx, stop := interruptible()
	defer stop()
	cluster, t, err := c.target(c.Pod)
	if err != nil {
		return err
	}
	say := func(line string) { fmt.Fprintln(s.Err, "envoyshim:", strings.ReplaceAll(line, "\n", "; ")) }
	way := &kube.Way{Cluster: cluster, Target: t, Container: c.Container, PID: c.PID, Forward: c.Via != "exec", Port: c.Port, Wait: c.Wait, Say: say}
	found, p, err := way.Find(ctx)
	if err != nil {
		return plainly(err)
	}
	if err := c.compare(p, say); err != nil {
		return err
	}
	a := attachment{Namespace: found.Namespace, Pod: found.Pod, Container: found.Container, Process: p}
	if c.Print {
		return c.print(s, a)
	}
	l, err := connect.Listen(c.address())
	if err != nil {
		return err
	}
	a.Listen = l.Addr().String()
	a.Commands = commandLines{GDB: "target remote " + a.Listen, LLDB: "gdb-remote " + a.Listen}
	switch {
	case c.GDB || c.LLDB:
		say(a.what())
		stop()
		return c.start(s, l, way, say, args)
	case c.JSON:
		if err := s.JSON(a); err != nil {
			return err
		}
	default:
		fmt.Fprintln(s.Out, a.what())
		fmt.Fprintln(s.Out, connect.Hints(l))
	}
	go way.Follow(ctx)
	return connect.Serve(ctx, l, way.Open, say)
}

func (c *attachCommand) address() string {
	switch {
	case c.Listen != "":
		return c.Listen
	case c.GDB || c.LLDB:
		return "127.0.0.1:0"
	}
	return "127.0.0.1:2159"
}

// compare warns of symbols that are another Envoy's: breakpoints would be set anywhere.
func (c *attachCommand) compare(p kube.Process, say func(string)) error {
	if c.ELF == "" {
		return nil
	}
	info, err := elfinfo.Read(c.ELF)
	switch {
	case err != nil:
		return fmt.Errorf("--elf: %w", err)
	case info.BuildID != p.BuildID && info.BuildID != "" && p.BuildID != "":
		say(fmt.Sprintf("%s is another Envoy than the pod's: its build-id is %s, the pod's %s; breakpoints will be in wrong places", c.ELF, info.BuildID, p.BuildID))
	case !info.Symbols && !info.Debug:
		say(c.ELF + " has no symbols")
	}
	return nil
}

// what tells what a debugger will find.
func (a attachment) what() string {
	p := a.Process
	line := fmt.Sprintf("pod %s, container %s: %s, pid %d, is %s", a.Pod, a.Container, p.Name, p.PID, p.State)
	switch {
	case p.State == kube.Held && p.Crash != nil:
		line += " at " + p.Crash.Signal
	case p.State == kube.Attached:
		line += fmt.Sprintf(" to %s, which has to leave first (kubectl envoyshim disconnect -n %s %s)", cmp.Or(p.Debugger, "a debugger"), a.Namespace, a.Pod)
	case p.State == kube.Running:
		line += "; attaching stops it"
	}
	if p.BuildID != "" {
		line += "; build-id " + p.BuildID
	}
	return line
}

// print prints what needs no port: gdb speaks by a pipe, lldb is started.
func (c *attachCommand) print(s *command.Streams, a attachment) error {
	self := "kubectl envoyshim "
	where := ""
	for _, flag := range [][2]string{{"--kubeconfig", c.Kubeconfig}, {"--context", c.Context}, {"--as", c.As}} {
		if flag[1] != "" {
			where += flag[0] + " " + flag[1] + " "
		}
	}
	where += fmt.Sprintf("-n %s -c %s %s", a.Namespace, a.Container, c.Pod)
	elf := cmp.Or(c.ELF, "envoy")
	a.Commands = commandLines{
		GDB:  fmt.Sprintf("gdb -ex 'target remote | %sstdio %s' %s", self, where, elf),
		LLDB: fmt.Sprintf("%sattach --lldb --elf %s %s", self, elf, where),
	}
	if c.Via != "exec" {
		a.Commands.GDB = fmt.Sprintf("%sattach --via %s --gdb --elf %s %s", self, c.Via, elf, where)
		a.Commands.LLDB = fmt.Sprintf("%sattach --via %s --lldb --elf %s %s", self, c.Via, elf, where)
	}
	if c.JSON {
		return s.JSON(a)
	}
	fmt.Fprintln(s.Out, a.what())
	fmt.Fprintln(s.Out, a.Commands.GDB)
	fmt.Fprintln(s.Out, a.Commands.LLDB)
	return nil
}

// start starts a debugger and serves it and whoever else comes, as long as it stays.
func (c *attachCommand) start(s *command.Streams, l net.Listener, way *kube.Way, say func(string), args []string) error {
	// Ctrl-C is for the debugger. Taken and not ignored: it would inherit that.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	debugger := lldb(l.Addr().String(), c.ELF, args)
	if c.GDB {
		debugger = gdb(l.Addr().String(), c.ELF, args)
	}
	served := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	go way.Follow(ctx)
	go func() { served <- connect.Serve(ctx, l, way.Open, say) }()
	var err error
	s.Status, err = debugger.run(ctx, s)
	cancel()
	<-served
	return err
}
