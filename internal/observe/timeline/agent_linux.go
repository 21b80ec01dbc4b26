package timeline

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/late"
	"github.com/envoyshim/envoyshim/internal/procfs"
)

// An Agent is the pilot-agent that has started an Envoy.
type Agent struct {
	PID   int
	Ports []int // where it says, at /healthz/ready, whether Envoy is ready: by a listener of Envoy's, and its own
}

// The ports unless the agent is told otherwise (https://istio.io/latest/docs/ops/deployment/application-requirements/).
const (
	readyPort  = 15021
	statusPort = 15020
)

// status finds the agent's own port in PROXY_CONFIG, which is YAML or JSON (istio.mesh.v1alpha1.ProxyConfig).
var status = late.Regexp(`"?\bstatusPort"?\s*:\s*(\d+)`)

// FindAgent looks whether the parent of a process is a pilot-agent. One in another network namespace than ours cannot be asked.
func FindAgent(pid int) (a Agent, err error) {
	st, err := procfs.ReadStat(pid)
	if err != nil || procfs.Comm(st.PPID) != "pilot-agent" {
		return a, err
	}
	here, err1 := os.Readlink("/proc/self/ns/net")
	there, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", st.PPID))
	if err1 != nil || err2 != nil || here != there {
		return a, fmt.Errorf("pilot-agent (process %d) is not asked: it is in another network namespace; run this in its container", st.PPID)
	}
	ready, own := readyPort, statusPort
	for _, e := range procfs.Environ(st.PPID) {
		name, value, _ := strings.Cut(e, "=")
		switch name {
		case "ENVOY_STATUS_PORT":
			if n, err := strconv.Atoi(value); err == nil {
				ready = n
			}
		case "PROXY_CONFIG":
			if m := status().FindStringSubmatch(value); m != nil {
				own, _ = strconv.Atoi(m[1])
			}
		}
	}
	return Agent{st.PPID, []int{ready, own}}, nil
}

// How often the agent is asked: at first, and at last, as the kubelet does. It logs each time that it is not ready.
const (
	agentOften  = 50 * time.Millisecond
	agentSeldom = time.Second
)

// checkAgent asks the agent until all of its ports say ready, which they do not before Envoy is LIVE.
func (w *Watch) checkAgent(ctx context.Context) {
	select {
	case <-w.live:
	case <-ctx.Done():
		return
	}
	unready := slices.Clone(w.Agent.Ports)
	for pause := agentOften; len(unready) > 0; pause = min(2*pause, agentSeldom) {
		unready = slices.DeleteFunc(unready, func(port int) bool {
			asked := time.Now()
			answer := probe(ctx, port)
			if answer == statusOK || ctx.Err() == nil {
				w.do(func(r *Record) {
					r.Probes = append(r.Probes, Probe{Asked: asked, Answered: time.Now(), Port: port, Answer: answer})
				})
			}
			return answer == statusOK
		})
		if len(unready) == 0 {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// probe asks as the kubelet does, and returns the status, or why there is none. That takes no more of HTTP than a line, and net/http is too large for
// the program of pods.
func probe(ctx context.Context, port int) string {
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	fmt.Fprintf(conn, "GET /healthz/ready HTTP/1.1\r\nHost: localhost:%d\r\nConnection: close\r\n\r\n", port)
	line, err := bufio.NewReader(conn).ReadString('\n')
	version, status, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case err != nil:
		return err.Error()
	case !strings.HasPrefix(version, "HTTP/1."):
		return "not HTTP/1"
	case strings.HasPrefix(status, statusOK):
		return statusOK
	}
	return status
}
