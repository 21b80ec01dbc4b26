package test

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-dap"
	"golang.org/x/sys/unix"
)

// vscode drives a debug adapter by the Debug Adapter Protocol, as VS Code does.
type vscode struct {
	t      testing.TB
	cmd    *exec.Cmd // nil: it is the port
	in     io.Writer
	seq    int
	msgs   chan dap.Message
	events []dap.Message // that came while a response was awaited
}

// attachVSCode starts an lldb-dap that attaches to the port; the breakpoints are still
// to come, then begin. lldb-dap 19 at times looks before the first stop has reached it and gives
// up, with a bare lldb-server too (measured: 7 of 120); a person would press the button
// again.
func attachVSCode(t testing.TB, program string, s *shim) *vscode {
	t.Helper()
	for range 10 {
		eventually(t, "nobody is attached", func() bool { return s.statusJSON()[0].str("state") == "held" })
		if c := tryVSCode(t, program, s.port); c != nil {
			return c
		}
	}
	t.Fatal("lldb-dap never attached")
	return nil
}

func tryVSCode(t testing.TB, program, port string) *vscode {
	t.Helper()
	return tryAttach(t, map[string]any{"program": program, "stopOnEntry": true, "attachCommands": []string{"gdb-remote " + port}})
}

// tryAttach starts an lldb-dap with the attach request of a launch.json. It is nil when lldb-dap has looked too early.
func tryAttach(t testing.TB, arguments map[string]any) *vscode {
	t.Helper()
	c := startLLDBDAP(t)
	if failed := c.send("attach", arguments); failed != nil {
		if failed.GetResponse().Message != "process unloaded during launch or attach" {
			t.Fatalf("attach: %+v", failed.GetResponse())
		}
		_ = c.cmd.Process.Kill()
		return nil
	}
	await[*dap.InitializedEvent](c)
	return c
}

// startLLDBDAP starts an lldb-dap that is to be told what to attach.
func startLLDBDAP(t testing.TB) *vscode {
	t.Helper()
	cmd := exec.Command("lldb-dap-19")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := newVSCode(t, in, out)
	c.cmd = cmd
	c.initialize()
	return c
}

// newVSCode talks to a debug adapter.
func newVSCode(t testing.TB, in io.Writer, out io.Reader) *vscode {
	c := &vscode{t: t, in: in, msgs: make(chan dap.Message)}
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	go func() {
		defer close(c.msgs)
		for r := bufio.NewReader(out); ; {
			m, err := dap.ReadProtocolMessage(r)
			if err != nil {
				return
			}
			select {
			case c.msgs <- m:
			case <-gone:
				return
			}
		}
	}()
	return c
}

func (c *vscode) initialize() {
	c.t.Helper()
	request[*dap.InitializeResponse](c, "initialize", dap.InitializeRequestArguments{
		ClientID: "vscode", AdapterID: "lldb-dap", LinesStartAt1: true, ColumnsStartAt1: true, PathFormat: "path"})
}

func (c *vscode) next() dap.Message {
	c.t.Helper()
	select {
	case m, ok := <-c.msgs:
		if !ok {
			c.t.Fatal("lldb-dap has ended")
		}
		return m
	case <-time.After(patience):
		c.t.Fatal("lldb-dap says nothing")
	}
	return nil
}

// request sends a request and returns its response, which must be a success.
func request[R dap.ResponseMessage](c *vscode, command string, arguments any) R {
	c.t.Helper()
	switch m := c.exchange(command, arguments).(type) {
	case R:
		return m
	default:
		c.t.Fatalf("%s: %+v", command, m)
		panic("unreachable")
	}
}

// send sends a request and returns its response if that is a failure.
func (c *vscode) send(command string, arguments any) (failed dap.ResponseMessage) {
	c.t.Helper()
	if m := c.exchange(command, arguments); !m.GetResponse().Success {
		return m
	}
	return nil
}

// exchange sends a request and returns its response; events are kept.
func (c *vscode) exchange(command string, arguments any) dap.ResponseMessage {
	c.t.Helper()
	c.seq++
	b, err := json.Marshal(map[string]any{"seq": c.seq, "type": "request", "command": command, "arguments": arguments})
	if err == nil {
		err = dap.WriteBaseMessage(c.in, b)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		m := c.next()
		if r, ok := m.(dap.ResponseMessage); ok {
			return r
		}
		c.events = append(c.events, m)
	}
}

func (c *vscode) event() dap.Message {
	c.t.Helper()
	if len(c.events) == 0 {
		return c.next()
	}
	m := c.events[0]
	c.events = c.events[1:]
	return m
}

// await returns the next event of the kind E; before it the process must neither stop nor
// end.
func await[E dap.EventMessage](c *vscode) E {
	c.t.Helper()
	for {
		m := c.event()
		if e, ok := m.(E); ok {
			return e
		}
		switch m.(type) {
		case *dap.StoppedEvent, *dap.ExitedEvent, *dap.TerminatedEvent:
			c.t.Fatalf("awaiting %T, %+v came", *new(E), m)
		}
	}
}

// begin ends the configuration and returns the call stack of the stop on entry.
func (c *vscode) begin() []dap.StackFrame {
	c.t.Helper()
	request[*dap.ConfigurationDoneResponse](c, "configurationDone", nil)
	return c.stack(await[*dap.StoppedEvent](c))
}

// resume lets it run. Of the stop on entry lldb-dap tells twice, once by itself and once
// when lldb does, which can be any time before it says that it goes on.
func (c *vscode) resume() {
	c.t.Helper()
	request[*dap.ContinueResponse](c, "continue", dap.ContinueArguments{ThreadId: c.threads()[0].Id})
	for {
		if _, ok := c.event().(*dap.ContinuedEvent); ok {
			return
		}
	}
}

// toBreakpoint lets it run to the next stop, which must be at a breakpoint, and
// returns the call stack.
func (c *vscode) toBreakpoint() []dap.StackFrame {
	c.t.Helper()
	c.resume()
	e := await[*dap.StoppedEvent](c)
	if e.Body.Reason != "breakpoint" {
		c.t.Fatalf("stopped by %+v", e.Body)
	}
	return c.stack(e)
}

func (c *vscode) stack(e *dap.StoppedEvent) []dap.StackFrame {
	c.t.Helper()
	return request[*dap.StackTraceResponse](c, "stackTrace", dap.StackTraceArguments{ThreadId: e.Body.ThreadId}).Body.StackFrames
}

func (c *vscode) threads() []dap.Thread {
	c.t.Helper()
	return request[*dap.ThreadsResponse](c, "threads", nil).Body.Threads
}

func (c *vscode) breakAtFunctions(names ...string) {
	c.t.Helper()
	var args dap.SetFunctionBreakpointsArguments
	for _, name := range names {
		args.Breakpoints = append(args.Breakpoints, dap.FunctionBreakpoint{Name: name})
	}
	c.verified(request[*dap.SetFunctionBreakpointsResponse](c, "setFunctionBreakpoints", args).Body.Breakpoints)
}

// breakAtDispatch sets the breakpoint of dispatchLine and returns its line.
func (c *vscode) breakAtDispatch() int {
	c.t.Helper()
	_, n, _ := strings.Cut(dispatchLine(c.t), ":")
	line, _ := strconv.Atoi(n)
	c.verified(request[*dap.SetBreakpointsResponse](c, "setBreakpoints", dap.SetBreakpointsArguments{
		Source:      dap.Source{Path: fixture(c.t, "test/standin/standin.cc")},
		Breakpoints: []dap.SourceBreakpoint{{Line: line}},
	}).Body.Breakpoints)
	return line
}

func (c *vscode) verified(points []dap.Breakpoint) {
	c.t.Helper()
	for _, p := range points {
		if !p.Verified {
			c.t.Fatalf("a breakpoint has no place: %+v", p)
		}
	}
}

// leave disconnects and lets it run on.
func (c *vscode) leave() {
	c.t.Helper()
	request[*dap.DisconnectResponse](c, "disconnect", dap.DisconnectArguments{TerminateDebuggee: false})
	await[*dap.TerminatedEvent](c)
}

func (c *vscode) variable(frame dap.StackFrame, name string) string {
	c.t.Helper()
	scopes := request[*dap.ScopesResponse](c, "scopes", dap.ScopesArguments{FrameId: frame.Id}).Body.Scopes
	all := request[*dap.VariablesResponse](c, "variables", dap.VariablesArguments{VariablesReference: scopes[0].VariablesReference}).Body.Variables
	for _, v := range all {
		if v.Name == name {
			return v.Value
		}
	}
	c.t.Fatalf("no variable %s in %+v", name, all)
	return ""
}

// isStack fails the test unless the innermost frames are those of the functions.
func isStack(t testing.TB, stack []dap.StackFrame, functions ...string) {
	t.Helper()
	for i, want := range functions {
		if i >= len(stack) {
			t.Fatalf("no frame of %s in %+v", want, stack)
		}
		if name, _, _ := strings.Cut(stack[i].Name, "("); name != want {
			t.Fatalf("frame %d is %s, not %s", i, stack[i].Name, want)
		}
	}
}

func instruction(t testing.TB, frame dap.StackFrame) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(frame.InstructionPointerReference, 0, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestVSCodeDebugsTheStart(t *testing.T) {
	for _, mode := range []string{"lldb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, mode, standin(t), args...)
			first := entryPoint(t, s.pid())
			c := attachVSCode(t, standin(t), s)
			line := c.breakAtDispatch()
			c.breakAtFunctions("Envoy::MainCommon::main", "Envoy::Api::OsSysCallsImpl::bind")

			stack := c.begin()
			isStack(t, stack, "_start")
			if got := instruction(t, stack[0]); got != first {
				t.Fatalf("the first stop is at %#x, not at the first instruction %#x", got, first)
			}

			stack = c.toBreakpoint()
			isStack(t, stack, "Envoy::MainCommon::main", "main")
			if got, want := c.variable(stack[0], "argc"), strconv.Itoa(len(args)+1); got != want {
				t.Fatalf("argc is %s, not %s", got, want)
			}
			isStack(t, c.toBreakpoint(), "Envoy::Api::OsSysCallsImpl::bind", "Envoy::Server::openAdmin", "Envoy::Server::run", "Envoy::MainCommon::main", "main")
			stack = c.toBreakpoint()
			isStack(t, stack, "Envoy::Server::run", "Envoy::MainCommon::main", "main")
			if stack[0].Line != line {
				t.Fatalf("stopped in line %d, not %d", stack[0].Line, line)
			}
			if all := c.threads(); len(all) != 4 { // and three workers
				t.Fatalf("threads %+v", all)
			}

			from := s.err.len()
			c.leave()
			if e, _ := s.eventFrom("detached", from); e.str("by") != "detach" {
				t.Fatalf("detached by %q", e.str("by"))
			}
			awaitLive(t, admin)
			if got := tracer(t, s.pid()); got != 0 {
				t.Fatalf("process %d still traces it", got)
			}
			if st := s.quit(admin); st != 0 {
				t.Fatalf("wait status %#x", st)
			}
		})
	}
}

// A killed lldb-dap is a lost connection: the process stays held where it was.
func TestVSCodeIsKilled(t *testing.T) {
	for _, mode := range []string{"lldb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			args, admin := standinArgs(t)
			s := hold(t, mode, standin(t), args...)
			c := attachVSCode(t, standin(t), s)
			c.breakAtFunctions("Envoy::Api::OsSysCallsImpl::bind")
			c.breakAtDispatch()
			c.begin()
			before := c.toBreakpoint()
			isStack(t, before, "Envoy::Api::OsSysCallsImpl::bind")
			from := s.err.len()
			_ = unix.Kill(c.cmd.Process.Pid, unix.SIGKILL)
			e, from := s.eventFrom("detached", from)
			if e.str("by") != "lost" {
				t.Fatalf("detached by %q", e.str("by"))
			}
			s.eventFrom("held", from)
			if state(t, s.pid()) != "T" || tracer(t, s.pid()) != 0 {
				t.Fatalf("state %s, tracer %d", state(t, s.pid()), tracer(t, s.pid()))
			}
			sameText(t, s.pid())

			c = attachVSCode(t, standin(t), s)
			line := c.breakAtDispatch()
			after := c.begin()
			isStack(t, after, "Envoy::Api::OsSysCallsImpl::bind", "Envoy::Server::openAdmin")
			if got, want := instruction(t, after[0]), instruction(t, before[0]); got != want {
				t.Fatalf("it was left at %#x and found at %#x", want, got)
			}
			if stack := c.toBreakpoint(); stack[0].Line != line {
				t.Fatalf("it went on to %+v", stack[0])
			}
			c.leave()
			awaitLive(t, admin)
			s.quit(admin)
		})
	}
}

func TestVSCodeSeesTheEnd(t *testing.T) {
	for _, mode := range []string{"lldb", "debug"} {
		t.Run(mode, func(t *testing.T) {
			s := hold(t, mode, probe(t), "exit", "42")
			c := attachVSCode(t, probe(t), s)
			c.begin()
			c.resume()
			if e := await[*dap.ExitedEvent](c); e.Body.ExitCode != 42 {
				t.Fatalf("VS Code saw exit code %d", e.Body.ExitCode)
			}
			if st := s.status(); !st.Exited() || st.ExitStatus() != 42 {
				t.Fatalf("the parent saw %#x", st)
			}
		})
	}
}
