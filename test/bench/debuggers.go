//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// The debuggers as test/deps.sh installs them.
const (
	lldbClient = "lldb-19"
	lldbServer = "lldb-server-19"
)

// A debugger is a client with its server and the shim's mode that serves it.
type debugger struct {
	name   string
	mode   string
	server string
	// launch starts the server on a program and returns when its port listens.
	launch func(elf string, args ...string) (p *program, port string, err error)
	// client is the command line that connects, runs the commands and then waits for
	// more.
	client func(elf, port string, commands ...string) []string
}

var debuggers = []debugger{
	{"gdb", "gdb", "gdbserver", launchGDBServer, gdbArgs},
	{"lldb", "lldb", "lldb-server", launchLLDBServer, lldbArgs},
}

// embedded is the debugger with the shim's own server.
func (d debugger) embedded() debugger {
	d.mode = "debug"
	return d
}

func launchGDBServer(elf string, args ...string) (*program, string, error) {
	p, err := start(nil, append([]string{tool("gdbserver"), "--once", "127.0.0.1:0", elf}, args...))
	if err != nil {
		return nil, "", err
	}
	line, err := p.out.line("Listening on port ")
	_, port, _ := strings.Cut(strings.TrimSpace(line), "port ")
	return p, "127.0.0.1:" + port, err
}

// launchLLDBServer lets the server choose its port and tell it through a pipe.
func launchLLDBServer(elf string, args ...string) (*program, string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer r.Close()
	p, err := start(nil, append([]string{tool(lldbServer), "gdbserver", "--pipe", "3", "127.0.0.1:0", "--", elf}, args...), int(w.Fd()))
	_ = w.Close()
	if err != nil {
		return nil, "", err
	}
	told := stream{fd: int(r.Fd())}
	port, err := told.await("\x00")
	if err != nil {
		said, _ := p.out.all()
		return nil, "", fmt.Errorf("%s: %w: %s", lldbServer, err, said)
	}
	return p, "127.0.0.1:" + strings.TrimSuffix(port, "\x00"), nil
}

// launchShim is the same for us: the shim in the debugger's mode.
func (d debugger) launchShim(s shim, elf string, args ...string) (*program, string, error) {
	p, err := start(shimEnv(d.mode, elf), append([]string{s.path}, args...))
	if err != nil {
		return nil, "", err
	}
	line, err := p.out.line(`"event":"listening"`)
	if err != nil {
		return nil, "", err
	}
	var event struct{ Listen string }
	err = json.Unmarshal([]byte(line), &event)
	return p, event.Listen, err
}

// shimEnv switches the shim on, with a port that the kernel chooses and a log that can be
// read.
func shimEnv(mode, elf string) []string {
	return []string{"ENVOYSHIM_MODE=" + mode, "ENVOYSHIM_REAL=" + elf, "ENVOYSHIM_LISTEN=127.0.0.1:0", "ENVOYSHIM_LOG_FORMAT=json"}
}

func gdbArgs(elf, port string, commands ...string) []string {
	argv := []string{tool("gdb"), "-nx", "-q"}
	for _, c := range append([]string{
		"set pagination off", "set width 0", "set confirm off", "set debuginfod enabled off", "set breakpoint pending on",
		"set sysroot /", // not through the server
		"target remote " + port,
	}, commands...) {
		argv = append(argv, "-ex", c)
	}
	return append(argv, elf)
}

func lldbArgs(elf, port string, commands ...string) []string {
	argv := []string{tool(lldbClient), "-x", "-o", "gdb-remote " + port}
	for _, c := range commands {
		argv = append(argv, "-o", c)
	}
	return append(argv, elf)
}

// debuggee is the program that the shim holds or a server launched.
func (d debugger) debuggee(server *program, ours bool) (int, error) {
	if ours {
		return server.pid, nil
	}
	kids, err := children(server.pid)
	if err != nil || len(kids) != 1 {
		return 0, fmt.Errorf("children of %s: %v, %v", d.server, kids, err)
	}
	return kids[0], nil
}

// killDebuggee ends it. Not every server kills what it launched when it ends.
func (d debugger) killDebuggee(server *program, ours bool) error {
	pid, err := d.debuggee(server, ours)
	if err != nil {
		return err
	}
	return unix.Kill(pid, unix.SIGKILL) // its parent, we or the server, has not reaped it
}

// end ends a session from the program on: its server then has nothing to leave
// behind.
func (d debugger) end(server *program, ours bool, client *program) error {
	if err := d.killDebuggee(server, ours); err != nil {
		return err
	}
	client.kill()
	server.kill()
	return finish(server, client)
}
