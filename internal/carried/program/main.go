//go:build linux

// Command program is what envoyshim carries inside, for want of which it need not link Delve, crypto/tls, net/http, cilium/ebpf and pprof (package carried).
// The supervisor, or the catcher, starts it by the name of what it is to be, and its descriptor 3 is the socket between the two. What a command of the
// command line starts talks by standard input and output.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/envoyshim/envoyshim/internal/carried"
	"github.com/envoyshim/envoyshim/internal/delve"
	delveserver "github.com/envoyshim/envoyshim/internal/delve/server"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	adminclient "github.com/envoyshim/envoyshim/internal/observe/admin/client"
	"github.com/envoyshim/envoyshim/internal/observe/profile"
	"github.com/envoyshim/envoyshim/internal/observe/profile/pprof"
	"github.com/envoyshim/envoyshim/internal/tlsport"
	tlsserver "github.com/envoyshim/envoyshim/internal/tlsport/server"
	"github.com/envoyshim/envoyshim/nsutil/catch/execprobe"
)

// Only the main thread's name is the process's (proc_pid_comm(5)).
func init() { runtime.LockOSThread() }

func main() {
	name := os.Args[0]
	if err := run(name, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(name string, args []string) error {
	roles := map[string]func([]string, *carried.Conn) error{
		delve.Name: delveserver.Main, tlsport.Name: tlsserver.Main, execprobe.Name: execprobe.Main,
	}
	piped := map[string]func(io.Reader, io.Writer) error{
		admin.Name: adminclient.Main, profile.Name: pprof.Filter,
	}
	if role := piped[name]; role != nil {
		carried.TakeName(name)
		return role(os.Stdin, os.Stdout)
	}
	role := roles[name]
	if role == nil {
		return errors.New("this program is internal to envoyshim")
	}
	carried.TakeName(name)
	supervisor, err := carried.Supervisor()
	if err != nil {
		return err
	}
	return role(args, supervisor)
}
