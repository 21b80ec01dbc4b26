//go:build linux

// Command envoyshim stands in Envoy's place in a proxy image and holds the real
// Envoy before its first instruction until a debugger is attached.
//
// Called envoyshim it is a command line; by any other name it is the shim, and
// becomes the real program of that name. See README.md.
//
// Envoy's start waits for the supervisor's, which therefore reads no cgroup files first.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/envoyshim/envoyshim/internal/cli"
	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/early"
	"github.com/envoyshim/envoyshim/launcher"
)

func main() {
	streams := &command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	shim, supervisor, err := early.Connect()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "envoyshim:", err)
		os.Exit(launcher.ExitCannotRun)
	case supervisor && strings.HasPrefix(shim.Name, "envoyshim"): // envoyshim run
		shim.Exit(cli.Main(shim, shim.Argv[1:], streams))
	case supervisor:
		launcher.Launch(shim)
	case strings.HasPrefix(early.Name(), "envoyshim"):
		os.Exit(cli.Main(nil, os.Args[1:], streams))
	default:
		fmt.Fprintln(os.Stderr, "envoyshim:", early.ErrNotLinked)
		os.Exit(launcher.ExitCannotRun)
	}
}
