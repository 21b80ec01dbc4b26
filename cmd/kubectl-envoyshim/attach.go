package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"slices"
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
	Node   bool   `name:"node" help:"By the node agent beside the pod, whose image then needs no envoyshim; also to what runs."`
	nodeFlags
	JSON bool `name:"json" help:"Print the process and the port as JSON; with --node JSON Lines, one object an event."`
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

func (c *attachCommand) Run(s *command.Streams) error {
	args := command.AfterDashes(c.Args)
	switch {
	case len(args) > 0 && !c.GDB && !c.LLDB:
		return command.Usage("arguments are for --gdb or --lldb")
	case c.JSON && (c.GDB || c.LLDB):
		return command.Usage("--json is not for --gdb and --lldb, which have the terminal")
	case c.Via == "exec" && c.Port != 0:
		return command.Usage("--port is for --via port-forward")
	case c.Node && (c.GDB || c.LLDB || c.Print || c.Wait || c.PID != 0 || c.Via != "exec" || c.ELF != ""):
		return command.Usage("--node gives a port: --gdb, --lldb, --print, --elf, --via, --wait and --pid are not for it")
	case !c.Node && (c.Comm != "" || c.Exe != ""):
		return command.Usage("--comm and --exe are for --node")
	case c.Via != "exec" && (c.Wait || c.PID != 0):
		return command.Usage("--wait and --pid need --via exec: a port cannot be asked for them")
	}
	if c.Node {
		return c.byNode(s)
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
	l, err := connect.Listen(c.address(p))
	if err != nil {
		return err
	}
	a.Listen = l.Addr().String()
	a.Commands = atPort(p, a.Listen)
	if servedBy(p).platform && portOf(a.Listen) != portOf(p.Listen) {
		say(fmt.Sprintf("lldb's platform is told to come again at port %s: leave out --listen, or name that port", portOf(p.Listen)))
	}
	switch {
	case c.GDB || c.LLDB:
		say(a.what())
		stop()
		return c.start(s, l, p, way, say, args)
	case c.JSON:
		if err := s.JSON(a); err != nil {
			return err
		}
	default:
		fmt.Fprintln(s.Out, a.what())
		fmt.Fprintln(s.Out, hints(p, l))
	}
	go way.Follow(ctx)
	return connect.Serve(ctx, l, way.Open, say)
}

// byNode has the node agent attach.
func (c *attachCommand) byNode(s *command.Streams) error {
	cluster, t, err := c.target(c.Pod)
	if err != nil {
		return err
	}
	way := &kube.NodeWay{Cluster: cluster, Target: t, Container: c.Container}
	return c.lead(s, c.Flags, way, "debug", cmp.Or(c.Listen, "127.0.0.1:2159"), c.JSON)
}

func (c *attachCommand) address(p kube.Process) string {
	switch {
	case c.Listen != "":
		return c.Listen
	case servedBy(p).platform:
		return "127.0.0.1:" + portOf(p.Listen) // which lldb's platform tells it to come again to
	case c.GDB || c.LLDB:
		return "127.0.0.1:0"
	}
	return "127.0.0.1:2159"
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
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

// print prints what to type.
func (c *attachCommand) print(s *command.Streams, a attachment) error {
	a.Commands = c.lines(a)
	if c.JSON {
		return s.JSON(a)
	}
	fmt.Fprintln(s.Out, a.what())
	for _, line := range []string{a.Commands.Port, a.Commands.GDB, a.Commands.LLDB, a.Commands.Dlv} {
		if line != "" {
			fmt.Fprintln(s.Out, line)
		}
	}
	return nil
}

// lines are for a shell. What can does without a port: gdb speaks by a pipe, lldb is started.
func (c *attachCommand) lines(a attachment) commandLines {
	where := append(clusterFlags(c.Flags), "-n", a.Namespace, "-c", a.Container, c.Pod)
	self := func(words ...string) string {
		return quoted(slices.Concat([]string{"kubectl", "envoyshim"}, words, where)...)
	}
	attach := []string{"attach"}
	if c.Via != "exec" {
		attach = append(attach, "--via", c.Via)
	}
	elf := cmp.Or(c.ELF, "envoy")
	var lines commandLines
	serves := servedBy(a.Process)
	switch {
	case serves.gdb && c.Via != "exec":
		lines.GDB = self(append(attach, "--gdb", "--elf", elf)...)
	case serves.gdb:
		lines.GDB = quoted("gdb", "-ex", "target remote | "+self("stdio"), elf)
	}
	if serves.lldb || serves.platform {
		lines.LLDB = self(append(attach, "--lldb", "--elf", elf)...)
	}
	if serves.dlv {
		address := c.address(a.Process)
		lines.Port, lines.Dlv = self(append(attach, "--listen", address)...), quoted("dlv", "connect", address)
	}
	return lines
}

// start starts a debugger and serves it and whoever else comes, as long as it stays.
func (c *attachCommand) start(s *command.Streams, l net.Listener, p kube.Process, way *kube.Way, say func(string), args []string) error {
	// Ctrl-C is for the debugger. Taken and not ignored: it would inherit that.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	address := l.Addr().String()
	var debugger debugger
	switch {
	case c.GDB:
		debugger = gdb(address, c.ELF, args)
	case servedBy(p).platform:
		debugger = lldb(platform(p, address), c.ELF, args)
	default:
		debugger = lldb([]string{"gdb-remote " + address}, c.ELF, args)
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
