// Command envoyshim stands in Envoy's place in a proxy image and holds the real
// Envoy before its first instruction until a debugger is attached.
//
// Called envoyshim it is a command line; by any other name it is the shim, and
// becomes the real program of that name. See README.md.
package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/envoyshim/envoyshim/internal/cli"
	"github.com/envoyshim/envoyshim/internal/inherit"
	"github.com/envoyshim/envoyshim/launcher"
)

// The shim's execve must come from the thread group leader, which runs init and
// main when locked here.
func init() { runtime.LockOSThread() }

func main() {
	switch {
	case !strings.HasPrefix(filepath.Base(inherit.ExecFn()), "envoyshim"):
		os.Exit(launcher.Shim())
	case len(os.Args) == 2 && os.Args[1] == launcher.SuperviseCommand:
		runtime.UnlockOSThread()
		os.Exit(launcher.Supervise())
	case len(os.Args) == 2 && os.Args[1] == launcher.ProbeCommand:
		os.Exit(launcher.ProbeTracer())
	default:
		os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
}
