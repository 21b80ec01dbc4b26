//go:build linux

package launcher

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// dapLimit bounds the messages of a client, in bytes. What it says is short: breakpoints, expressions.
const dapLimit = 8 << 20

// dapSession serves a client of the Debug Adapter Protocol by lldb-dap, which needs no server beside it: it is a client, in lldb's dialect, of
// the embedded one, over a socket pair. So the process is held, lost and let go as in any other session.
type dapSession struct {
	embeddedSession          // of lldb-dap
	editor          *os.File // the client
	leaving         atomic.Bool
}

// findLLDBDAP: up to version 17 it was lldb-vscode.
func findLLDBDAP() (string, error) {
	path, err := findProgram(append(versioned("lldb-dap"), versioned("lldb-vscode")...))
	if err != nil {
		return "", fmt.Errorf("the Debug Adapter Protocol needs lldb-dap, and there is %w: install lldb, or have an lldb-dap of your own connect by its attachCommands (gdb-remote HOST:PORT)", err)
	}
	return path, nil
}

func (s *dapSession) serves() protocol { return dapProtocol }

func (s *dapSession) drop() { shutdown(s.editor) }

// run serves the editor until it, lldb-dap or the process is gone.
func (s *dapSession) run() ending {
	defer func() { s.drop(); _ = s.editor.Close() }()
	path, err := findLLDBDAP()
	if err != nil {
		return ending{how: byCrash, err: err}
	}
	ours, theirs, err := socketPair("lldb-dap")
	if err != nil {
		return ending{how: byCrash, err: err}
	}
	s.client = ours
	adapter := exec.Command(path)
	adapter.Stdout = s.editor
	adapter.ExtraFiles = []*os.File{theirs} // fd 3
	requests, err := adapter.StdinPipe()
	if err == nil {
		err = adapter.Start()
	}
	_ = theirs.Close()
	if err != nil {
		_ = s.client.Close()
		return ending{how: byCrash, err: fmt.Errorf("start %s: %w", path, err)}
	}
	go s.carry(requests, adapter.Process)
	end := ending{how: byLoss}
	if comes(s.client) {
		end = s.embeddedSession.run()
	} else {
		_ = s.client.Close()
	}
	// It has last words for the editor.
	hung := time.AfterFunc(answerTime, func() { _ = adapter.Process.Kill() })
	_ = adapter.Wait()
	hung.Stop()
	return end
}

// comes waits until lldb-dap says something to the server, or has ended.
func comes(socket *os.File) bool {
	poll := []unix.PollFd{{Fd: int32(socket.Fd()), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(poll, -1); n == 1 || err != nil && err != unix.EINTR {
			var b [1]byte
			n, _, _ := unix.Recvfrom(int(socket.Fd()), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			return n == 1
		}
	}
}

// carry passes the editor's requests on, the attach made one to the held process. When the editor goes without a word lldb-dap is killed: by
// itself it would let the process run.
func (s *dapSession) carry(to io.WriteCloser, adapter *os.Process) {
	defer to.Close()
	limited := &io.LimitedReader{R: s.editor}
	for in := bufio.NewReader(limited); ; {
		limited.N = dapLimit
		message, err := readDAP(in, dapLimit)
		if err == nil {
			_, err = to.Write(frameDAP(s.direct(message)))
		}
		switch {
		case err == nil:
		case s.leaving.Load():
			return // lldb-dap carries it out, and ends
		default:
			_ = adapter.Kill()
			return
		}
	}
}

// direct has an attach request go to the embedded server, whatever process it names: there is one.
func (s *dapSession) direct(message []byte) []byte {
	var request map[string]json.RawMessage
	var command string
	if json.Unmarshal(message, &request) != nil || json.Unmarshal(request["command"], &command) != nil {
		return message
	}
	switch command {
	case "disconnect":
		s.leaving.Store(true)
		return message
	case "attach", "launch": // it has been launched
	default:
		return message
	}
	arguments := map[string]any{}
	_ = json.Unmarshal(request["arguments"], &arguments)
	for _, other := range []string{"pid", "waitFor", "coreFile", "attachInfo", "gdb-remote-port", "gdb-remote-hostname"} {
		delete(arguments, other)
	}
	// The editor's path may be another machine's.
	if program, _ := arguments["program"].(string); !isFile(program) {
		arguments["program"] = procfs.Exe(s.pid)
	}
	// lldb-dap 19 looks before the first stop has reached it and gives up, unless the command waits; without Python it does not.
	commands := []string{"?script lldb.debugger.SetAsync(False)", "process connect --plugin gdb-remote fd://3", "?script lldb.debugger.SetAsync(True)"}
	arguments[command+"Commands"] = commands
	var err error
	if request["arguments"], err = json.Marshal(arguments); err != nil {
		return message
	}
	directed, err := json.Marshal(request)
	if err != nil {
		return message
	}
	return directed
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// readDAP reads one message of at most limit bytes (Debug Adapter Protocol, "Base protocol").
func readDAP(from *bufio.Reader, limit uint64) ([]byte, error) {
	header, err := textproto.NewReader(from).ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	length, err := strconv.ParseUint(header.Get("Content-Length"), 10, 63)
	if err != nil {
		return nil, fmt.Errorf("parse the length of a message: %w", err)
	}
	if length > limit {
		return nil, errors.New("a message that is too long")
	}
	body := make([]byte, length)
	_, err = io.ReadFull(from, body)
	return body, err
}

func frameDAP(body []byte) []byte {
	return fmt.Appendf(nil, "Content-Length: %d\r\n\r\n%s", len(body), body)
}
