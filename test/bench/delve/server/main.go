// Command server is Delve's server alone: what envoyshim carries in one variant of the benchmarks (carry.go).
package main

import (
	"fmt"
	"os"

	"github.com/go-delve/delve/service"
	"github.com/go-delve/delve/service/debugger"
	"github.com/go-delve/delve/service/rpccommon"
)

func main() {
	if err := rpccommon.NewServer(&service.Config{Debugger: debugger.Config{}}).Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
