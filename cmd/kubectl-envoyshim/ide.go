package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/images/symbols"
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/ide"
)

type ideCommand struct {
	VSCode vscodeCommand `cmd:"" name:"vscode" help:"Print a launch.json for VS Code: CodeLLDB, lldb-dap, and gdb by the C/C++ extension."`
	LLDB   lldbCommand   `cmd:"" name:"lldb" help:"Print a script for lldb -s."`
	GDB    gdbCommand    `cmd:"" name:"gdb" help:"Print a script for gdb -x."`
}

// sessionFlags are those of all three.
type sessionFlags struct {
	ELF         string   `name:"elf" complete:"file" placeholder:"FILE" help:"Envoy with its symbols; else that of --symbols, else envoy here."`
	Symbols     string   `name:"symbols" complete:"file" placeholder:"DIR" help:"What image symbols has prepared."`
	Port        string   `name:"port" default:"127.0.0.1:2159" placeholder:"ADDR" help:"HOST:PORT of the debug port as seen from here (${default}); connect makes one."`
	Breakpoints []string `name:"breakpoints" complete:"breakpoints" placeholder:"SET" help:"startup: Envoy::MainCommon::main; syscalls: those of Envoy itself, OsSysCallsImpl; epoll: those of libevent. All three may be given."`
	SourceMap   []string `name:"source-map" complete:"file" sep:"none" placeholder:"FROM=TO" help:"Where the sources are that the build had elsewhere, or only TO: for Bazel's directories that the ELF names, as /proc/self/cwd."`
	PodBuildID  string   `name:"pod-build-id" placeholder:"ID" help:"The build-id of the ELF in the pod, which --elf must have, too."`
	Status      string   `name:"status" complete:"file" placeholder:"FILE" help:"The same from what 'kubectl envoyshim status --json' printed; - is standard input."`
}

type vscodeCommand struct {
	sessionFlags
	Name  string `name:"name" default:"Envoy in a pod" placeholder:"NAME" help:"What the entries are called (${default})."`
	Merge string `name:"merge" complete:"file" placeholder:"FILE" help:"Write the entries into this launch.json instead, its comments kept."`
}

type lldbCommand struct{ sessionFlags }

type gdbCommand struct{ sessionFlags }

func (c *vscodeCommand) Run(s *command.Streams) error {
	session, err := c.session(s)
	if err != nil {
		return err
	}
	session.Name = c.Name
	if c.Merge != "" {
		if err := session.Merge(c.Merge); err != nil {
			return err
		}
		fmt.Fprintf(s.Err, "written to %s\n", c.Merge)
		return nil
	}
	text, err := session.VSCode()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.Out, "%s\n", text)
	return err
}

func (c *lldbCommand) Run(s *command.Streams) error {
	session, err := c.session(s)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.Out, session.LLDB())
	return err
}

func (c *gdbCommand) Run(s *command.Streams) error {
	session, err := c.session(s)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.Out, session.GDB())
	return err
}

// session makes one of the flags. What a user should know goes to s.Err, a line each.
func (c *sessionFlags) session(s *command.Streams) (ide.Session, error) {
	session := ide.Session{Port: c.Port, Presets: c.Breakpoints}
	for _, name := range c.Breakpoints {
		if !slices.Contains(ide.PresetNames(), name) {
			return session, command.Usage("no set of breakpoints is called %q; there are %s", name, strings.Join(ide.PresetNames(), ", "))
		}
	}
	if _, _, err := net.SplitHostPort(c.Port); err != nil {
		return session, command.Usage("--port: %w", err)
	}
	processes, err := c.processes(s)
	if err != nil {
		return session, err
	}
	if c.Symbols != "" {
		if session.Symbols, err = filepath.Abs(c.Symbols); err != nil {
			return session, err
		}
	}
	if session.ELF, err = c.elf(processes); err != nil {
		return session, err
	}
	if _, err := os.Stat(session.ELF); c.ELF == "" && os.IsNotExist(err) {
		fmt.Fprintf(s.Err, "warning: there is no %s: put the unstripped ELF of the pod's image there, or name it by --elf\n", session.ELF)
		session.SourceMap, err = c.sources(nil)
		return session, err
	}
	warnings, err := ide.Check(session.ELF, processes...)
	if err != nil {
		return session, err
	}
	for _, w := range warnings {
		fmt.Fprintln(s.Err, "warning:", w)
	}
	build, err := ide.BuildDirectories(session.ELF)
	if err != nil {
		return session, err
	}
	if len(c.SourceMap) == 0 && len(build) > 0 {
		fmt.Fprintf(s.Err, "note: it was compiled in %s; --source-map DIR says where its sources are\n", strings.Join(build, ", "))
	}
	session.SourceMap, err = c.sources(build)
	return session, err
}

// elf is the absolute path of the ELF, which for a default need not be there.
func (c *sessionFlags) elf(processes []ide.Held) (string, error) {
	switch {
	case c.ELF != "":
		return filepath.Abs(c.ELF)
	case c.Symbols == "":
		return filepath.Abs(ide.DefaultELF)
	}
	var ids []string
	for _, p := range processes {
		if p.BuildID != "" {
			ids = append(ids, p.BuildID)
		}
	}
	found, err := symbols.Find(c.Symbols, ids...)
	if err != nil {
		return "", err
	}
	return filepath.Abs(found)
}

func (c *sessionFlags) sources(build []string) ([]ide.Mapping, error) {
	if len(build) == 0 {
		build = []string{"/proc/self/cwd"}
	}
	var all []ide.Mapping
	for _, text := range c.SourceMap {
		some, err := ide.ParseMapping(text, build)
		if err != nil {
			return nil, command.Usage("--source-map: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

func (c *sessionFlags) processes(s *command.Streams) ([]ide.Held, error) {
	switch {
	case c.PodBuildID != "" && c.Status != "":
		return nil, command.Usage("name either --pod-build-id or --status")
	case c.PodBuildID != "":
		return []ide.Held{{BuildID: strings.ToLower(c.PodBuildID)}}, nil
	case c.Status == "-":
		return ide.ReadStatus(s.In)
	case c.Status != "":
		f, err := os.Open(c.Status)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return ide.ReadStatus(f)
	}
	return nil, nil
}
