//go:build linux

// Command program is what of envoyshim links crypto/tls: see package tlsport. Its argument is the directory of certificates, its
// descriptor 3 the supervisor.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/tlsport"
)

func main() {
	carried.TakeName(tlsport.Name)
	err := errors.New("this program is internal: the debug port uses it")
	if len(os.Args) == 2 {
		err = serve(os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "envoyshim:", err)
		os.Exit(1)
	}
}
