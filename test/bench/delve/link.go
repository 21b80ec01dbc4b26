// This file is laid over package main of envoyshim (overlay-linked.json) for one variant that
// only the benchmarks build: the shim with Delve's server linked in. It shows
// what the size of the binary, and the packages that initialise themselves at every
// start, cost.
package main

import (
	"os"

	"github.com/go-delve/delve/service"
	"github.com/go-delve/delve/service/debugger"
	"github.com/go-delve/delve/service/rpccommon"
)

// The linker cannot know that this never happens.
func init() {
	if len(os.Args) > 1<<20 {
		_ = rpccommon.NewServer(&service.Config{Debugger: debugger.Config{}}).Run()
	}
}
