//go:build linux

package cli

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/launcher"
)

// awaitCrashed waits for the end of an ELF that was started here and is held at a crash (ENVOYSHIM_HOLD_ON_CRASH), and brings it about at Ctrl-C.
func awaitCrashed(s *command.Streams, child *launcher.Child) {
	child.Crashed()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	fmt.Fprintf(s.Err, "envoyshim: process %d is held at a crash, and this waits for its end; by Ctrl-C the signal takes its course, too\n", child.PID)
	go func() {
		<-asked
		if _, err := launcher.Resume(child.PID); err == nil {
			<-asked // once more: it does not end by that
		}
		child.End()
	}()
	s.Status = child.ExitStatus()
}
