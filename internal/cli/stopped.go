//go:build linux

package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// untilStopped is done when this process is to end: at Ctrl-C and the like, of which a second one ends it at once, or, with eof, at the end of
// standard input.
func untilStopped(eof bool, in io.Reader) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	if eof {
		go func() {
			_, _ = io.Copy(io.Discard, in)
			stop()
		}()
	}
	return ctx, stop
}
