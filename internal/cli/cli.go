// Package cli is the command line of bin/envoyshim: one file a command, thin over
// the packages that do the work.
package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/envoyshim/envoyshim/internal/early"
)

// streams are what a command talks to.
type streams struct {
	in       io.Reader
	out, err io.Writer
	status   int         // exit status of a command that did its work
	shim     *early.Shim // of `envoyshim run`: the process that was started so
}

type commands struct {
	Run        runCommand        `cmd:"" help:"Run an ELF, held before its first instruction when --mode says so."`
	Status     statusCommand     `cmd:"" help:"List the processes under envoyshim in this container."`
	Resume     resumeCommand     `cmd:"" help:"Let a held process run."`
	Wait       waitCommand       `cmd:"" help:"Wait until a process is held, attached, running or exited."`
	Disconnect disconnectCommand `cmd:"" help:"Drop the attached debugger; back to held."`
	Stdio      stdioCommand      `cmd:"" help:"Connect standard input and output to the debug port."`
	Connect    connectCommand    `cmd:"" help:"Give debuggers on this machine a port that leads to a debug port elsewhere."`
	Doctor     doctorCommand     `cmd:"" help:"Tell what would stop a debugger here, and the cure."`
	Rehearse   rehearseCommand   `cmd:"" hidden:""`

	Version kong.VersionFlag `help:"Print the version."`
}

const description = `Hold the real Envoy before its first instruction, under any parent, and open a port for a remote debugger.

In a proxy image this same program stands at /usr/local/bin/envoy and is steered by ENVOYSHIM_* variables: those that "envoyshim run --help" names, ENVOYSHIM_REAL (the real ELF) and ENVOYSHIM_TARGET (the names the mode applies to).`

// usageError is a wrong command line that only the command itself can see.
type usageError struct{ error }

// exit is how kong's --help and --version leave.
type exit int

// Main runs the command line and returns the exit status: 0, 1 for an error, 2 for
// wrong usage, or what the command says. With a shim it does so in its place: this is `envoyshim run`,
// which becomes the ELF.
func Main(shim *early.Shim, args []string, in io.Reader, out, errw io.Writer) (status int) {
	defer func() {
		if r := recover(); r != nil {
			code, ok := r.(exit)
			if !ok {
				panic(r)
			}
			status = int(code)
		}
	}()
	s := &streams{in: in, out: out, err: errw, shim: shim}
	parser, err := kong.New(&commands{},
		kong.Name("envoyshim"),
		kong.Description(description),
		kong.Writers(out, errw),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": Version()},
		kong.Bind(s),
	)
	if err != nil {
		return s.fail(err, 2)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return s.fail(fmt.Errorf("%w; see envoyshim --help", err), 2)
	}
	err = ctx.Run()
	var usage usageError
	switch {
	case errors.As(err, &usage):
		return s.fail(fmt.Errorf("%w; see envoyshim --help", err), 2)
	case err != nil:
		return s.fail(err, 1)
	}
	return s.status
}

func (s *streams) fail(err error, status int) int {
	fmt.Fprintf(s.err, "envoyshim: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
	return status
}

// json writes v as one indented JSON document.
func (s *streams) json(v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Version is the module version and commit that the Go linker recorded.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, modified := info.Main.Version, ""
	for _, kv := range info.Settings {
		if kv.Key == "vcs.modified" && kv.Value == "true" && !strings.HasSuffix(version, "+dirty") {
			modified = "+dirty"
		}
	}
	return version + modified
}
