package connect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Stream carries one client's bytes to a debug port and back.
type Stream interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	// CloseWrite tells the other side that the client has nothing more to say.
	CloseWrite() error
	// Close ends it at once and tells why it had ended before, if that was a failure.
	Close() error
}

// Open makes a stream. What it returns does not end with the context, which only bounds the making.
type Open func(context.Context) (Stream, error)

// ErrFinal is wrapped by errors, of an Open or of a Stream's first Read, that another try would only repeat.
var ErrFinal = errors.New("refused")

// Listen opens the port for debuggers. Whoever reaches that port has what this machine's user may do with the process, so it is
// refused beyond loopback.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w; name HOST:PORT, as 127.0.0.1:2159", address, err)
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("listen on %q: debuggers are served on this machine only; name a loopback address, as 127.0.0.1:2159", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%w; choose another port by --listen, 0 for a free one", err)
	}
	return l, nil
}

// Hints is one line for the user: where debuggers are served, and what to type there.
func Hints(l net.Listener) string {
	a := l.Addr().String()
	return fmt.Sprintf("listening on %s; gdb: target remote %s; lldb: gdb-remote %s; VS Code (lldb-dap): \"attachCommands\": [\"gdb-remote %s\"]; Ctrl-C ends", a, a, a, a)
}

// Run is the command: it says on out where it listens, carries clients until Ctrl-C, SIGTERM or SIGHUP, and leaves nothing behind.
func Run(listen string, open Open, out, errw io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	l, err := Listen(listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, Hints(l))
	return Serve(ctx, l, open, func(line string) { fmt.Fprintln(errw, "envoyshim:", strings.ReplaceAll(line, "\n", "; ")) })
}

// Serve carries each client of l by a stream of its own until ctx is done; then it closes l and all streams, and returns when
// nothing is left of them. say is told, from several goroutines, what a user has to know, in one line.
func Serve(ctx context.Context, l net.Listener, open Open, say func(string)) error {
	var clients sync.WaitGroup
	defer clients.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			time.Sleep(100 * time.Millisecond) // out of descriptors: other clients leave
			continue
		}
		clients.Go(func() { carry(ctx, conn, open, say) })
	}
}
