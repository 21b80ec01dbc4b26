package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Event is a line of what `envoyshim catch --json` or `attach --json` says on a node, and where that is.
type Event struct {
	Event     string `json:"event"` // waiting, caught, listening, held, attached, detached, resumed, exited, failed
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	PodUID    string `json:"pod_uid"`
	Container string `json:"container,omitempty"` // its ID
	Node      string `json:"node"`
	Agent     string `json:"agent"`            // the pod of the node agent
	Method    string `json:"method,omitempty"` // of waiting: ebpf or ptrace
	PID       int    `json:"pid,omitempty"`    // on the node
	NSPID     int    `json:"ns_pid,omitempty"` // in the container
	Comm      string `json:"comm,omitempty"`
	Exe       string `json:"exe,omitempty"`
	State     string `json:"state,omitempty"`
	BuildID   string `json:"build_id,omitempty"`
	Listen    string `json:"listen,omitempty"` // for debuggers on this machine
	Debugger  string `json:"debugger,omitempty"`
	Client    string `json:"client,omitempty"`
	By        string `json:"by,omitempty"`     // of detached and resumed
	Signal    string `json:"signal,omitempty"` // of held: at which; of exited: by which
	Status    *int   `json:"status,omitempty"` // of exited
	Message   string `json:"message,omitempty"`
}

// post is an envoyshim that works in a node agent for one pod, as long as somebody listens.
type post struct {
	pod   *corev1.Pod
	agent container
	leave context.CancelFunc
}

// said is what a post says: an event, a warning, or that it has ended.
type said struct {
	by      *post
	event   *Event
	warning string
	err     error
}

// warnings tells each line for the user but the last, which is the error if there is one. envoyshim's log is there, too, but says what the
// events do.
type warnings struct {
	tell func(line string)
	line []byte // that has not ended
	last string
}

func (w *warnings) Write(p []byte) (int, error) {
	for _, b := range p {
		if w.line = append(w.line, b); b != '\n' {
			continue
		}
		if line, ok := strings.CutPrefix(strings.TrimSpace(string(w.line)), "envoyshim: "); ok {
			if w.last != "" {
				w.tell(w.last)
			}
			w.last = line
		}
		w.line = nil
	}
	return len(p), nil
}

func (w *warnings) String() string { return w.last }

// run runs a command of envoyshim that prints events, until it or ctx ends. It ends with its standard input, lest it stay behind there when
// we go.
func (p *post) run(ctx context.Context, c *Cluster, tell func(said), args ...string) {
	in, open := io.Pipe()
	defer open.Close()
	out, lines := io.Pipe()
	read := make(chan error, 1)
	go func() {
		events := json.NewDecoder(out)
		for {
			var e Event
			err := events.Decode(&e)
			if err != nil {
				_ = out.CloseWithError(err)
				read <- err
				return
			}
			e.Namespace, e.Pod, e.PodUID, e.Node, e.Agent = p.pod.Namespace, p.pod.Name, string(p.pod.UID), p.agent.pod.Spec.NodeName, p.agent.pod.Name
			tell(said{by: p, event: &e})
		}
	}()
	heard := &warnings{tell: func(line string) { tell(said{by: p, warning: line}) }}
	err := c.runHearing(ctx, &p.agent, in, lines, func() complaints { return heard }, append(args, "--json", "--until-eof")...)
	if err == nil && heard.last != "" {
		heard.tell(heard.last)
	}
	_ = lines.Close()
	if misread := <-read; !errors.Is(misread, io.EOF) {
		err = fmt.Errorf("%s: envoyshim %s says what is no event: %w", p.agent, args[0], misread)
	}
	tell(said{by: p, err: err})
}

// refuses says that another try would be refused, too: envoyshim has said why it ended.
func refuses(err error) bool {
	var failed *Failed
	return isFinal(err) || errors.As(err, &failed) && failed.Says != "" && !strings.HasPrefix(failed.Says, inputEnded)
}
