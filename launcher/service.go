//go:build linux

package launcher

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// how says how a session came to its end.
type how string

const (
	byDetach     how = "detach"
	byQuit       how = "quit"       // the client asked to kill, which counts as detach
	byLoss       how = "lost"       // the connection dropped
	byDisconnect how = "disconnect" // envoyshim disconnect
	byCrash      how = "crash"      // the debug server ended by itself
	byExit       how = "exit"       // the process ended
	byFault      how = "fault"      // the process is held at a fatal signal
	byKill       how = "kill"       // the client's user had it killed
)

type ending struct {
	how       how
	attached  bool // the client had been served
	err       error
	crash     *Crash // at which the watch holds it
	unwatched bool   // the watch is over
	letRun    bool   // it was left on hold for a watch to let it run
	ran       bool   // it ran while it was served, and runs on
	recorded  func() // called when the supervisor knows it; or nil
}

// service is one client being served.
type service interface {
	run() ending
	drop()
	serves() protocol
}

// socketPair makes a pair of stream sockets, one of them for the child of that name (socketpair(2)). They block: sessions wait by themselves.
func socketPair(name string) (ours, theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create a socket pair: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name+"'s end"), nil
}
