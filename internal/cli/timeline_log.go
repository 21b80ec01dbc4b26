//go:build linux

package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
	"github.com/envoyshim/envoyshim/internal/observe/timeline"
)

// xdsLog is what lines of Envoy's log tell.
func xdsLog(name string, in io.Reader) (all []admin.XDSEvent, err error) {
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadString('\n')
		if e, ok := admin.ParseXDSLine(line); ok {
			all = append(all, e)
		} else if n := len(all) - 1; n >= 0 && all[n].Kind == admin.XDSRejected && len(all[n].Details) < longestReason && !logLine().MatchString(line) {
			all[n].Details += "\n" + line // the reason has several lines
		}
		if err == io.EOF {
			return all, nil
		} else if err != nil {
			return all, fmt.Errorf("read %s: %w", name, err)
		}
	}
}

// longestReason is where the lines behind a rejection are taken for its reason no more, bytes: of another format all that follow seem to be of it.
const longestReason = 4 << 10

// logLine is how Envoy's lines begin, by its own format and by Istio's.
var logLine = late.Regexp(`^\[?\d{4}-\d\d-\d\d[ T]`)

// awaitFlush waits until what the process has logged by now is in its log, if that is a file: Envoy keeps it for a while.
func awaitFlush(ctx context.Context, s *command.Streams, log string, r *timeline.Record) {
	if log == "" || !writes(r.PID, log) {
		return
	}
	interval := flushInterval(r.Args)
	fmt.Fprintf(s.Err, "waiting for Envoy to write its log, which it does each %s (--file-flush-interval-msec)\n", interval)
	const writing = 100 * time.Millisecond
	select {
	case <-time.After(interval + writing):
	case <-ctx.Done():
	}
}

// writes reports whether a process has a file open.
func writes(pid int, file string) bool {
	log, err := os.Stat(file)
	if err != nil || !log.Mode().IsRegular() {
		return false
	}
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	files, _ := os.ReadDir(dir)
	return slices.ContainsFunc(files, func(e os.DirEntry) bool {
		f, err := os.Stat(filepath.Join(dir, e.Name()))
		return err == nil && os.SameFile(f, log)
	})
}

// flushInterval is how long an Envoy with these arguments keeps what it has to write to files (https://www.envoyproxy.io/docs/envoy/latest/operations/cli).
func flushInterval(args []string) time.Duration {
	const option = "--file-flush-interval-msec"
	for i, a := range args {
		value, given := strings.CutPrefix(a, option+"=")
		if a == option && i+1 < len(args) {
			value, given = args[i+1], true
		}
		if ms, err := strconv.Atoi(value); given && err == nil {
			return time.Duration(ms) * time.Millisecond
		}
	}
	return 10 * time.Second
}
