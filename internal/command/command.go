// Package command is the frame of both command lines, bin/envoyshim's and bin/kubectl-envoyshim's: how a line is parsed, how errors
// are said, and what the exit status means.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// Streams are what a command talks to.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Status   int // the exit status of a command that did its work
}

// usageError is a wrong command line that only the command itself can see.
type usageError struct{ error }

// Usage makes one.
func Usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// statusError is an error that ends the program with a status of its own.
type statusError struct {
	error
	status int
}

// WithStatus makes one.
func WithStatus(status int, err error) error { return statusError{err, status} }

func (e statusError) Unwrap() error { return e.error }

// Line is a command line: a program's name and description, and its commands in the form that kong takes.
type Line struct {
	Name, Description string
	Commands          any
	Bind              []any                         // what commands may ask for beside the *Streams
	Complete          map[string]func() []Candidate // the words of flags and arguments that are tagged `complete:"NAME"`
}

// exit is how kong's --help and --version leave.
type exit int

// Run runs a command line and returns the exit status: 0, 1 for an error, 2 for wrong usage, or what the command says.
func (l Line) Run(args []string, s *Streams) (status int) {
	defer func() {
		if r := recover(); r != nil {
			code, ok := r.(exit)
			if !ok {
				panic(r)
			}
			status = int(code)
		}
	}()
	parser, err := l.parser(s)
	if err != nil {
		return l.fail(s, err, 2)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	if args[0] == "__complete" {
		l.complete(parser.Model, args[1:], s.Out)
		return 0
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		var wrong *kong.ParseError
		if errors.As(err, &wrong) {
			ctx = wrong.Context
		}
		return l.misused(s, err, ctx)
	}
	err = ctx.Run()
	var usage usageError
	var other statusError
	switch {
	case errors.As(err, &usage):
		return l.misused(s, err, ctx)
	case errors.As(err, &other):
		return l.fail(s, err, other.status)
	case err != nil:
		return l.fail(s, err, 1)
	}
	return s.Status
}

func (l Line) parser(s *Streams) (*kong.Kong, error) {
	return kong.New(l.Commands,
		kong.Name(l.Name),
		kong.Description(l.Description),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"version": Version()},
		kong.Bind(append([]any{s}, l.Bind...)...),
	)
}

// Check tells what is wrong with a command line, as far as that can be told without running it.
func (l Line) Check(args []string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, helps := r.(exit); !helps {
				panic(r)
			}
			err = errors.New("it asks for help only")
		}
	}()
	parser, err := l.parser(&Streams{Out: io.Discard, Err: io.Discard})
	if err != nil {
		return err
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return err
	}
	if c, ok := ctx.Selected().Target.Addr().Interface().(Checker); ok {
		return c.Check()
	}
	return nil
}

// A Checker is a command that tells by itself what is wrong with its words, ahead of all that it does.
type Checker interface{ Check() error }

// misused says what is wrong with a line, and where its command is explained. ctx is how far kong has come, or nil.
func (l Line) misused(s *Streams, err error, ctx *kong.Context) int {
	explained := l.Name
	if ctx != nil && ctx.Selected() != nil {
		explained = ctx.Selected().FullPath()
	}
	return l.fail(s, fmt.Errorf("%w; see %s --help", err, explained), 2)
}

func (l Line) fail(s *Streams, err error, status int) int {
	fmt.Fprintf(s.Err, "envoyshim: %s\n", plain.Text(err.Error()))
	return status
}

// JSON writes v as one indented JSON document.
func (s *Streams) JSON(v any) error {
	enc := json.NewEncoder(s.Out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// Table aligns columns that tabs separate; Flush writes it.
func (s *Streams) Table() *tabwriter.Writer { return tabwriter.NewWriter(s.Out, 0, 0, 2, ' ', 0) }

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

// AfterDashes is a command and its arguments without the "--" that may stand before them.
func AfterDashes(argv []string) []string {
	if len(argv) > 0 && argv[0] == "--" {
		return argv[1:]
	}
	return argv
}
