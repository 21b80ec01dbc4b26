package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// patience only ends a test that would hang.
const patience = 30 * time.Second

// far is a port behind which serve answers each connection.
func far(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

// said collects lines.
type said struct {
	mu    sync.Mutex
	lines []string
}

func (s *said) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// near serves debuggers by open until the test's end, when nothing may be left.
func near(t *testing.T, open Open) (dial func() *net.TCPConn, lines *said) {
	t.Helper()
	before := runtime.NumGoroutine()
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error)
	lines = &said{}
	go func() { served <- Serve(ctx, l, open, lines.say) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		for end := time.Now().Add(patience); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				stacks := make([]byte, 1<<16)
				t.Fatalf("goroutines are left:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
		}
	})
	return func() *net.TCPConn {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(patience))
		return conn.(*net.TCPConn)
	}, lines
}

func TestEachDirectionEndsByItself(t *testing.T) {
	address := far(t, func(c *net.TCPConn) {
		n, _ := io.Copy(io.Discard, c) // to the end of what the client says
		fmt.Fprintf(c, "%d bytes", n)
	})
	dial, lines := near(t, TCP(address))
	for _, n := range []int{0, 1, 1 << 10} {
		c := dial()
		_, err := c.Write(make([]byte, n))
		if err == nil {
			err = c.CloseWrite()
		}
		got, rerr := io.ReadAll(c)
		if want := fmt.Sprintf("%d bytes", n); err != nil || rerr != nil || string(got) != want {
			t.Errorf("%q, %v, %v; want %q", got, err, rerr, want)
		}
	}
	if lines.String() != "" {
		t.Errorf("it says %s", lines)
	}
}

// Both directions are full at once.
func TestMuchBothWays(t *testing.T) {
	address := far(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	dial, _ := near(t, TCP(address))
	all := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	c := dial()
	_, _ = c.Write(all[:16])
	if _, err := io.ReadFull(c, make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = c.Write(all)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, all) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(all), err)
	}
}

// The client sees the end of the stream, however it comes.
func TestTheStreamEnds(t *testing.T) {
	for name, reset := range map[string]bool{"closed": false, "reset": true} {
		t.Run(name, func(t *testing.T) {
			address := far(t, func(c *net.TCPConn) {
				_, _ = c.Read(make([]byte, 1))
				_, _ = c.Write([]byte("a"))
				if reset {
					_, _ = c.Read(make([]byte, 1)) // the answer has been read
					_ = c.SetLinger(0)
				}
			})
			dial, _ := near(t, TCP(address))
			c := dial()
			_, _ = c.Write([]byte("b"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte("c"))
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

// What the client has said is said to each stream until one answers.
func TestSaidAgain(t *testing.T) {
	const first, then = "+$qSupported#37", "$g#67$g#67"
	var tries atomic.Int32
	heard := make(chan string, 1)
	address := far(t, func(c *net.TCPConn) {
		buf := make([]byte, len(first))
		if _, err := io.ReadFull(c, buf); err != nil || tries.Add(1) < 3 {
			return
		}
		_, _ = c.Write([]byte("+"))
		rest, _ := io.ReadAll(c)
		heard <- string(buf) + string(rest)
	})
	dial, lines := near(t, TCP(address))
	c := dial()
	_, _ = c.Write([]byte(first))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte(then))
	_ = c.CloseWrite()
	if got := <-heard; got != first+then {
		t.Errorf("heard %q", got)
	}
	if got, want := lines.String(), address+" closes connections without a word: it may want TLS (--tls-dir), or nothing stands behind that port-forward; trying again as long as the client waits"; got != want {
		t.Errorf("it says %s", got)
	}
}

// What gdb says again for want of an answer is passed on once; what it says with answers is never changed.
func TestAPacketThatIsRepeated(t *testing.T) {
	const packet = "$qSupported:swbreak+#37"
	c := &carriage{}
	for _, said := range []string{"+", packet, packet, packet} {
		if !c.hear([]byte(said)) {
			t.Errorf("%q ends it", said)
		}
	}
	if got := string(c.kept); got != "+"+packet {
		t.Errorf("it keeps %q", got)
	}
	c = &carriage{}
	for _, said := range []string{"{", "}", "}", "}"} {
		c.hear([]byte(said))
	}
	if got := string(c.kept); got != "{}}}" {
		t.Errorf("it keeps %q", got)
	}
}

// A client that goes on without an answer would mistake a late one.
func TestAClientThatGivesUpWaiting(t *testing.T) {
	for name, words := range map[string][]string{"another packet": {"+$qSupported#37", "$?#3f"}, "too much": {"{", strings.Repeat("x", maxUnsaid)}} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan struct{})
			address := far(t, func(c *net.TCPConn) {
				_, _ = io.ReadFull(c, make([]byte, len(words[0])))
				close(heard)
				_, _ = io.Copy(io.Discard, c)
			})
			dial, _ := near(t, TCP(address))
			c := dial()
			_, _ = c.Write([]byte(words[0]))
			<-heard
			_, _ = c.Write([]byte(words[1]))
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
	}
}

func TestWhatIsFinalIsNotTriedAgain(t *testing.T) {
	dial, lines := near(t, func(context.Context) (Stream, error) { return nil, fmt.Errorf("their certificate is %w", ErrFinal) })
	if n, err := dial().Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if got := lines.String(); got != "their certificate is refused" {
		t.Errorf("it says %s", got)
	}
}

// Whatever is under way at the end of Serve ends with it: near looks at what is left.
func TestServeEnds(t *testing.T) {
	silent := far(t, func(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) })
	for name, open := range map[string]Open{
		"a stream":    TCP(silent),
		"no stream":   func(context.Context) (Stream, error) { return nil, errors.New("not yet") },
		"in the open": func(ctx context.Context) (Stream, error) { <-ctx.Done(); return nil, ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			opened := make(chan struct{}, 1)
			dial, _ := near(t, func(ctx context.Context) (Stream, error) {
				select {
				case opened <- struct{}{}:
				default:
				}
				return open(ctx)
			})
			_, _ = dial().Write([]byte("$"))
			<-opened
		})
	}
}
