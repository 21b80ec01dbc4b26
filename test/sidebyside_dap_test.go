package test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-dap"
)

// A dapScript is a script for a real lldb-dap: what it answers, and why it says that the process stopped, must be the
// same with lldb-server and with our own server.
type dapScript struct {
	script
	play func(c *dapUser)
}

// A dapUser plays a session and writes down what it was told.
type dapUser struct {
	*vscode
	shim *shim
	told strings.Builder
}

// ask sends a request and returns the response, which may be a failure.
func (c *dapUser) ask(command string, arguments any) dap.ResponseMessage {
	c.t.Helper()
	m := c.exchange(command, arguments)
	c.tell(m)
	return m
}

// tell writes a message down, without the numbers of the conversation.
func (c *dapUser) tell(m dap.Message) {
	c.t.Helper()
	b, err := json.Marshal(m)
	must(c.t, err)
	fields := map[string]any{}
	must(c.t, json.Unmarshal(b, &fields))
	for _, name := range []string{"seq", "request_seq", "type"} {
		delete(fields, name)
	}
	b, err = json.MarshalIndent(fields, "", " ")
	must(c.t, err)
	fmt.Fprintf(&c.told, "%s\n", b)
}

// stop awaits a stop, with its call stack.
func (c *dapUser) stop() []dap.StackFrame {
	c.t.Helper()
	e := await[*dap.StoppedEvent](c.vscode)
	c.tell(e)
	return c.stackOf(e.Body.ThreadId)
}

func (c *dapUser) stackOf(thread int) []dap.StackFrame {
	c.t.Helper()
	return c.ask("stackTrace", dap.StackTraceArguments{ThreadId: thread}).(*dap.StackTraceResponse).Body.StackFrames
}

// goOn lets it run to the next stop.
func (c *dapUser) goOn() []dap.StackFrame {
	c.t.Helper()
	c.resume()
	return c.stop()
}

// step steps the thread that runs first: "next", "stepIn", "stepOut".
func (c *dapUser) step(command string, granularity dap.SteppingGranularity) []dap.StackFrame {
	c.t.Helper()
	c.ask(command, map[string]any{"threadId": c.shim.pid(), "granularity": granularity})
	return c.stop()
}

// look asks for the local variables of a frame: lldb-dap tells the global ones in any order.
func (c *dapUser) look(frame dap.StackFrame) {
	c.t.Helper()
	scopes := c.ask("scopes", dap.ScopesArguments{FrameId: frame.Id}).(*dap.ScopesResponse).Body.Scopes
	all := c.ask("variables", dap.VariablesArguments{VariablesReference: scopes[0].VariablesReference}).(*dap.VariablesResponse).Body.Variables
	for _, v := range all {
		if v.VariablesReference != 0 {
			c.ask("variables", dap.VariablesArguments{VariablesReference: v.VariablesReference})
		}
	}
}

func (c *dapUser) evaluate(frame dap.StackFrame, context string, expressions ...string) {
	c.t.Helper()
	for _, e := range expressions {
		c.ask("evaluate", dap.EvaluateArguments{Expression: e, FrameId: frame.Id, Context: context})
	}
}

func (c *dapUser) breakAt(names ...string) {
	c.t.Helper()
	args := dap.SetFunctionBreakpointsArguments{Breakpoints: []dap.FunctionBreakpoint{}} // lldb-dap dies of null
	for _, name := range names {
		args.Breakpoints = append(args.Breakpoints, dap.FunctionBreakpoint{Name: name})
	}
	c.ask("setFunctionBreakpoints", args)
}

// start ends the configuration: of its two stops on entry it may tell at any time, so they are not written down.
func (c *dapUser) start() { c.t.Helper(); c.begin() }

// end lets it run to its end.
func (c *dapUser) end() {
	c.t.Helper()
	c.resume()
	c.tell(await[*dap.ExitedEvent](c.vscode))
}

func (c *dapUser) disconnect() {
	c.t.Helper()
	c.ask("disconnect", dap.DisconnectArguments{})
}

var dapScripts = []dapScript{
	{script{name: "lines, functions, steps", shows: []string{`"tour.cc"`, `"reason": "breakpoint"`, `"tour::middle(`, `"reason": "step"`, `"1234"`, `"exitCode": 7`}}, func(c *dapUser) {
		source := dap.Source{Path: fixture(c.t, "test/fixtures/tour.cc")}
		c.ask("setBreakpoints", dap.SetBreakpointsArguments{Source: source, Breakpoints: []dap.SourceBreakpoint{
			{Line: tourLine(c.t, "result += 1;")}, {Line: tourLine(c.t, "total += leaf(i);"), Condition: "i == 3"},
			{Line: tourLine(c.t, "int seen = watched;"), LogMessage: "{n}"}, {Line: tourLine(c.t, "if (n <= 1) return 1;"), HitCondition: "3"}}})
		c.breakAt("tour::outer")
		c.start()
		c.goOn()
		c.step("stepIn", "")
		c.look(c.goOn()[0])
		c.step("next", "")
		frame := c.step("stepOut", "")[0]
		c.look(frame)
		c.evaluate(frame, "watch", "n", "n * 2", "tour::called(1, 2)", "nothing")
		c.evaluate(frame, "hover", "n", "tour::table")
		c.evaluate(frame, "repl", "n + 1")
		scopes := request[*dap.ScopesResponse](c.vscode, "scopes", dap.ScopesArguments{FrameId: frame.Id}).Body.Scopes
		c.ask("setVariable", dap.SetVariableArguments{VariablesReference: scopes[0].VariablesReference, Name: "n", Value: "1234"})
		c.evaluate(frame, "watch", "n")
		c.breakAt()
		c.goOn()
		c.evaluate(c.goOn()[0], "watch", "n")
		c.ask("setBreakpoints", dap.SetBreakpointsArguments{Source: source, Breakpoints: []dap.SourceBreakpoint{{Line: tourLine(c.t, "total += leaf(i);"), Condition: "i == 3"}}})
		c.evaluate(c.goOn()[0], "watch", "i", "total")
		c.end()
	}},
	{script{name: "instructions", shows: []string{`"instruction":`, `"reason": "step"`, `"reason": "step"`, `"command": "disconnect"`}}, func(c *dapUser) {
		c.breakAt("tour::leaf")
		c.start()
		frame := c.goOn()[0]
		c.ask("disassemble", dap.DisassembleArguments{MemoryReference: frame.InstructionPointerReference, InstructionCount: 8, ResolveSymbols: true})
		c.step("stepIn", "instruction")
		c.step("next", "instruction")
		// Not readMemory and setInstructionBreakpoints: lldb-dap 19 dies of them, with any server.
		c.disconnect()
	}},
	{script{name: "data breakpoints", shows: []string{`"accessTypes"`, `"verified": true`, `"watchpoint 1"`, `"tour::touch(`, `"watchpoint 2"`, `"exitCode": 7`}}, func(c *dapUser) {
		c.breakAt("tour::touch")
		c.start()
		frame := c.goOn()[0]
		scopes := request[*dap.ScopesResponse](c.vscode, "scopes", dap.ScopesArguments{FrameId: frame.Id}).Body.Scopes
		var points []dap.DataBreakpoint
		for i, name := range []string{"seen", "tour::watched"} { // a local and a global variable
			info := c.ask("dataBreakpointInfo", dap.DataBreakpointInfoArguments{Name: name, VariablesReference: scopes[i].VariablesReference})
			if found, ok := info.(*dap.DataBreakpointInfoResponse); ok {
				if id, ok := found.Body.DataId.(string); ok {
					points = append(points, dap.DataBreakpoint{DataId: id, AccessType: "write"})
				}
			}
		}
		c.ask("setDataBreakpoints", dap.SetDataBreakpointsArguments{Breakpoints: points})
		c.goOn()
		c.goOn()
		c.ask("setDataBreakpoints", dap.SetDataBreakpointsArguments{Breakpoints: []dap.DataBreakpoint{}})
		c.end()
	}},
	{script{name: "threads", args: []string{"forever", "sleepers"}, shows: []string{`"tour::together(`, `"name": "slp:0"`, `"name": "slp:2"`, `"tour::sleeper(`, `"command": "disconnect"`}}, func(c *dapUser) {
		c.breakAt("tour::together")
		c.start()
		c.goOn()
		for _, thread := range c.ask("threads", nil).(*dap.ThreadsResponse).Body.Threads {
			fmt.Fprintf(&c.told, "tid = %d\n", thread.Id) // for normal
			for i, frame := range c.stackOf(thread.Id) {
				if i < 2 {
					c.evaluate(frame, "watch", "tour::mine", "arg")
				}
			}
		}
		c.step("stepOut", "")
		c.disconnect()
	}},
	{script{name: "exceptions", args: []string{"throw"}, shows: []string{`"reason": "exception"`, `"C++ Throw"`, `"C++ Catch"`, `"exitCode": 7`}}, func(c *dapUser) {
		c.ask("setExceptionBreakpoints", dap.SetExceptionBreakpointsArguments{Filters: []string{"cpp_throw", "cpp_catch"}})
		c.start()
		for range 2 {
			c.goOn()
			c.ask("exceptionInfo", dap.ExceptionInfoArguments{ThreadId: c.shim.pid()})
		}
		c.end()
	}},
	{script{name: "crash", args: []string{"crash"}, shows: []string{`"reason": "exception"`, "fault address: 0x10", `"exitCode": 11`}}, func(c *dapUser) {
		c.start()
		c.look(c.goOn()[0])
		c.ask("exceptionInfo", dap.ExceptionInfoArguments{ThreadId: c.shim.pid()})
		c.end()
	}},
	{script{name: "signals", args: []string{"signals"}, shows: []string{"SIGUSR1", "SIGUSR2", `"command": "disconnect"`}}, func(c *dapUser) {
		c.start()
		for range 2 {
			c.goOn()
			c.ask("exceptionInfo", dap.ExceptionInfoArguments{ThreadId: c.shim.pid()})
		}
		c.disconnect()
	}},
	{script{name: "containers", args: []string{"containers"}, shows: []string{"hello, envoy", `"size=3"`, `"value": "3"`, `"command": "disconnect"`}}, func(c *dapUser) {
		c.ask("setBreakpoints", dap.SetBreakpointsArguments{Source: dap.Source{Path: fixture(c.t, "test/fixtures/tour.cc")},
			Breakpoints: []dap.SourceBreakpoint{{Line: tourLine(c.t, "counter += static_cast<int>(text")}}})
		c.start()
		c.look(c.goOn()[0])
		c.disconnect()
	}},
	{script{name: "pause", args: []string{"forever"}, shows: []string{`"tour::forever(`, `"name": "__libc_pause"`, `"command": "disconnect"`}}, func(c *dapUser) {
		c.breakAt("tour::forever")
		c.start()
		c.goOn()
		c.resume()
		eventually(c.t, "it sleeps in pause(2)", func() bool {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", c.shim.pid()))
			return strings.HasPrefix(string(b), "34 ")
		})
		c.ask("pause", dap.PauseArguments{ThreadId: c.shim.pid()})
		c.stop()
		c.disconnect()
	}},
}

func TestSideBySideDAP(t *testing.T) {
	for _, s := range dapScripts {
		t.Run(s.name, func(t *testing.T) { s.sideBySide(t) })
	}
}

func (s dapScript) sideBySide(t *testing.T) {
	t.Helper()
	envoy, elf := install(t, "envoy"), fixture(t, "bin/test/tour")
	session := func(mode string) string {
		env := append(shimEnv("off", elf), "ENVOYSHIM_MODE="+mode, "PAD="+strings.Repeat("x", 8-len(mode)), "ENVOYSHIM_LLDB_SERVER=/usr/bin/lldb-server-19")
		p := &shim{process: start(t, env, append([]string{"setarch", "-R", envoy}, s.args...)...)}
		p.awaitHeld(mode)
		c := &dapUser{vscode: attachVSCode(t, elf, p), shim: p}
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("mode %s:\n%s", mode, c.told.String())
			}
		})
		s.play(c)
		contains(t, c.told.String(), s.shows...)
		return s.normal(t, c.told.String(), p)
	}
	want, got := session("lldb"), session("debug")
	if want != got {
		t.Errorf("- lldb-server, + ours:\n%s", diffLines(strings.Split(want, "\n"), strings.Split(got, "\n")))
	}
}
