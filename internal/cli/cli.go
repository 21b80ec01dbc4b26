//go:build linux

// Package cli is the command line of bin/envoyshim: one file a command, thin over
// the packages that do the work.
package cli

import (
	"github.com/alecthomas/kong"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/early"
	"github.com/envoyshim/envoyshim/launcher"
)

type commands struct {
	Run        runCommand        `cmd:"" help:"Run an ELF, held before its first instruction when --mode says so."`
	Status     statusCommand     `cmd:"" help:"List the processes under envoyshim here."`
	Resume     resumeCommand     `cmd:"" help:"Let a held process run."`
	Wait       waitCommand       `cmd:"" help:"Wait until a process is held, attached, running or exited."`
	Disconnect disconnectCommand `cmd:"" help:"Drop the attached debugger; back to held."`
	Stdio      stdioCommand      `cmd:"" help:"Connect standard input and output to the debug port."`
	Install    installCommand    `cmd:"" help:"Put this program into a directory, by both of its names."`
	Doctor     doctorCommand     `cmd:"" help:"Tell what would stop a debugger here, and the cure."`

	Trace    traceCommand    `cmd:"" group:"See a start:" help:"Trace the calls of a start: functions and system calls, in order, with time and backtrace."`
	Profile  profileCommand  `cmd:"" group:"See a start:" help:"Sample all threads from the first instruction on, and write a profile for pprof."`
	Timeline timelineCommand `cmd:"" group:"See a start:" help:"Tell the phases of one start of Envoy, and how long each took."`
	Loglevel loglevelCommand `cmd:"" group:"See a start:" help:"Show or change the levels of a running Envoy's loggers."`

	Find   findCommand   `cmd:"" group:"On the node, with the image unchanged:" help:"Find processes by pod, container, command name or executable."`
	Catch  catchCommand  `cmd:"" group:"On the node, with the image unchanged:" help:"Hold the next process that executes a program, before its first instruction, in any container."`
	Attach attachCommand `cmd:"" group:"On the node, with the image unchanged:" help:"Open a debug port for a process of any container."`
	Nsexec nsexecCommand `cmd:"" group:"On the node, with the image unchanged:" help:"Run a command in namespaces of another process."`

	Observe   observeCommand   `cmd:"" hidden:""`
	Rehearse  rehearseCommand  `cmd:"" hidden:""`
	Attend    attendCommand    `cmd:"" hidden:""`
	NodeAgent nodeAgentCommand `cmd:"" name:"node-agent" hidden:""`
	Remote    remoteCommand    `cmd:"" hidden:""`
	Telemetry elsewhereCommand `cmd:"" hidden:""`
	Accesslog elsewhereCommand `cmd:"" hidden:""`

	Version kong.VersionFlag `help:"Print the version."`
}

const description = `Hold the real Envoy before its first instruction, under any parent, and open a port for a remote debugger.

In a proxy image this same program stands at /usr/local/bin/envoy and is steered by ENVOYSHIM_* variables: those that "envoyshim run --help" names, ENVOYSHIM_REAL (the real ELF) and ENVOYSHIM_TARGET (the names the mode applies to).`

// Main runs the command line and returns the exit status. With a shim it does so in its place: this is `envoyshim run`, which becomes
// the ELF.
func Main(shim *early.Shim, args []string, s *command.Streams) int { return line(shim).Run(args, s) }

func line(shim *early.Shim) command.Line {
	return command.Line{Name: "envoyshim", Description: description, Commands: &commands{}, Bind: []any{shim}}
}

// The supervisor checks the words that it is to give to a command before it holds anything.
func init() {
	launcher.CheckWords = func(name string, words []string) error {
		return line(nil).Check(append([]string{name, "--pid", "1"}, words...))
	}
}
