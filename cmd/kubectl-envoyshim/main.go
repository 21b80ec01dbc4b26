// Command kubectl-envoyshim is envoyshim on the user's own machine, Linux, macOS or Windows; on PATH it is also
// `kubectl envoyshim`. One file a command, thin over the packages that do the work. What an image or a pod needs of envoyshim is
// the other program, of the module's root.
package main

import (
	"os"
	"slices"

	"github.com/alecthomas/kong"

	"github.com/envoyshim/envoyshim/images/manifest"
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/ide"
)

type commands struct {
	Image      imageCommand       `cmd:"" help:"Images to debug, and the symbols for them."`
	Inject     injectCommand      `cmd:"" help:"Edit manifests so that their pods come up with Envoy held, or take that back."`
	Attach     attachCommand      `cmd:"" help:"Give debuggers a way to a held Envoy in a pod, or start one."`
	Catch      catchCommand       `cmd:"" help:"Hold the next Envoy of a pod before its first instruction, by the node agent: the image stays as it is."`
	Find       findCommand        `cmd:"" help:"List the processes of a pod, as its node sees them."`
	IDE        ideCommand         `cmd:"" name:"ide" help:"What an editor or a debugger needs to stop Envoy at its first instruction, with sources."`
	Status     statusCommand      `cmd:"" help:"List the processes under envoyshim in a pod, or in all pods."`
	Resume     resumeCommand      `cmd:"" help:"Let a held process of a pod run."`
	Wait       waitCommand        `cmd:"" help:"Wait until a process of a pod is held, attached, running or exited."`
	Trace      traceCommand       `cmd:"" help:"Tell which functions and system calls a process of a pod makes, from its first instruction on."`
	Timeline   timelineCommand    `cmd:"" help:"Tell the phases of a start in a pod, and how long each took."`
	LogLevel   loglevelCommand    `cmd:"" name:"loglevel" help:"Show or change the log levels of Envoy in a pod."`
	AccessLog  accesslogCommand   `cmd:"" name:"accesslog" help:"Explain the failures in an access log of Envoy: whose fault, and what to look at."`
	Telemetry  telemetryCommand   `cmd:"" help:"Tell by its metrics what moved while Envoy started, and what is wrong."`
	Disconnect disconnectCommand  `cmd:"" help:"Drop the debugger attached in a pod; back to held."`
	Doctor     doctorCommand      `cmd:"" help:"Tell what would stop a debugger in a pod or on a node, and the cure."`
	Profile    profileCommand     `cmd:"" help:"Profiles of a start: sampled in a pod, or converted from perf record."`
	Stdio      stdioCommand       `cmd:"" help:"Connect standard input and output to the debug port in a pod."`
	Connect    connectCommand     `cmd:"" help:"Give debuggers on this machine a port that leads to a debug port elsewhere."`
	Completion command.Completion `cmd:"" help:"Print the completion of a shell: bash, zsh or fish."`

	Version kong.VersionFlag `help:"Print the version."`
}

const description = `Debug the start of Envoy in a pod, from your own machine.`

func main() {
	line := command.Line{Name: "kubectl envoyshim", Description: description, Commands: &commands{}, Complete: map[string]func() []command.Candidate{
		"breakpoints": func() []command.Candidate { return candidates(ide.PresetNames()) },
		"mode":        func() []command.Candidate { return candidates(manifest.Modes()) },
		"attach-mode": func() []command.Candidate { return candidates(attachModes()) },
	}}
	os.Exit(line.Run(os.Args[1:], &command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// attachModes are those of a process that is there already.
func attachModes() []string {
	return slices.DeleteFunc(manifest.Modes(), func(m string) bool { return m == "off" || m == "trace" || m == "profile" })
}

func candidates(words []string) []command.Candidate {
	var all []command.Candidate
	for _, w := range words {
		all = append(all, command.Candidate{Word: w})
	}
	return all
}
