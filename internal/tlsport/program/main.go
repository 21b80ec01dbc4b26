// Command program is what of envoyshim links crypto/tls: see package tlsport.
//
//	serve DIR                           terminate TLS for the supervisor whose socket is descriptor 3
//	connect LISTEN HOST:PORT DIR NAME   be `envoyshim connect --tls-dir DIR`; NAME may be empty
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/connect"
	"github.com/envoyshim/envoyshim/internal/mtls"
	"github.com/envoyshim/envoyshim/internal/tlsport"
)

func main() {
	carried.TakeName(tlsport.Name)
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "envoyshim:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(args[1])
	case len(args) == 5 && args[0] == "connect":
		open, err := mtls.Dial(args[2], args[3], args[4])
		if err != nil {
			return err
		}
		return connect.Run(args[1], open, os.Stdout, os.Stderr)
	}
	return errors.New("this program is internal: `envoyshim connect` and the debug port use it")
}
