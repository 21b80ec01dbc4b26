package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/kube"
	"github.com/envoyshim/envoyshim/internal/observe/telemetry"
)

// metricsPath is where Envoy, and pilot-agent, expose their metrics.
const metricsPath = "/stats/prometheus"

// answerTime bounds one question: Envoy stopped by a debugger takes connections, and answers none.
const answerTime = 10 * time.Second

type telemetryCommand struct {
	podFlags
	URL      string        `name:"url" placeholder:"URL" help:"Where metrics are exposed, as http://127.0.0.1:15000; without a path /stats/prometheus."`
	Via      string        `name:"via" enum:"port-forward,exec,auto" default:"auto" placeholder:"auto" help:"How the pod is reached: port-forward, exec (by its pilot-agent, curl or wget), or auto, the second where the first is forbidden."`
	Port     int           `name:"port" placeholder:"N" help:"The port in the pod; else 15000, Envoy's admin port, then 15090, Istio's for Prometheus."`
	Watch    bool          `name:"watch" help:"Print changes as they come, until Ctrl-C, or --until."`
	Until    string        `name:"until" enum:"live,never" default:"never" placeholder:"live" help:"live: wait for Envoy, and report what moved until it is LIVE."`
	Interval time.Duration `name:"interval" default:"250ms" placeholder:"D" help:"How often metrics are asked for (Go duration; ${default})."`
	All      bool          `name:"all" help:"All series, also those that stand still, or tell nothing of a start."`
	JSON     bool          `name:"json" help:"Print JSON; with --watch JSON Lines: one object an event, the report in the end."`
	What     []string      `arg:"" optional:"" name:"pod-or-file" complete:"file" help:"POD, deploy/NAME and so on; or FILE, a scrape; or two FILEs, of which the difference is told. - is standard input."`
}

func (c *telemetryCommand) Run(s *command.Streams) error {
	files := len(c.What) > 0
	for _, name := range c.What {
		is, err := isFile(name)
		if err != nil {
			return err
		}
		files = files && is
	}
	follows := c.Watch || c.Until == "live"
	switch {
	case (c.URL != "") == (len(c.What) > 0):
		return command.Usage("name a pod, one or two files, or --url")
	case files && follows:
		return command.Usage("--watch and --until are for a pod or --url: a file does not move")
	case files && len(c.What) > 2:
		return command.Usage("one file, or two")
	case !files && len(c.What) > 1:
		return command.Usage("%s and %s: one pod, or files that are there", c.What[0], c.What[1])
	case c.Interval <= 0:
		return command.Usage("--interval must be more than 0")
	case files:
		return c.files(s)
	}
	fetch, err := c.source()
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	if follows {
		return c.follow(ctx, s, fetch)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := fetch(ctx)
	if err != nil {
		return fmt.Errorf("%w; --until live waits", plainly(err))
	}
	return c.report(s, telemetry.Single(telemetry.Parse(answer), c.All))
}

// isFile tells a file from the name of a pod. The error is of a path, which names no pod, where there is no file.
func isFile(name string) (bool, error) {
	info, err := os.Stat(name)
	if name == "-" || err == nil && !info.IsDir() {
		return true, nil
	}
	if _, noPod := kube.ParseTarget(name); noPod == nil || !strings.Contains(name, "/") {
		return false, nil
	}
	if err == nil {
		return false, fmt.Errorf("%s is a directory", name)
	}
	return false, fmt.Errorf("%w; a pod is named as POD, deploy/NAME, sts/NAME, ds/NAME, rs/NAME or job/NAME", err)
}

// files reports what one scrape has, or what moved between two.
func (c *telemetryCommand) files(s *command.Streams) error {
	var scrapes []telemetry.Scrape
	for _, name := range c.What {
		var exposition []byte
		var err error
		if name == "-" {
			exposition, err = io.ReadAll(s.In)
		} else {
			exposition, err = os.ReadFile(name)
		}
		if err != nil {
			return err
		}
		scrape := telemetry.Parse(exposition)
		if len(scrape.Series) == 0 {
			return fmt.Errorf("%s has no metrics in Prometheus's text format%s", name, firstProblem(scrape))
		}
		if info, err := os.Stat(name); err == nil {
			scrape.Time = info.ModTime()
		}
		scrapes = append(scrapes, scrape)
	}
	if len(scrapes) == 1 {
		return c.report(s, telemetry.Single(scrapes[0], c.All))
	}
	if telemetry.Restarted(scrapes[0], scrapes[1]) {
		fmt.Fprintln(s.Err, "envoyshim: counters or the uptime fell between the two: Envoy was started again, or the files are in the wrong order")
	}
	return c.report(s, telemetry.Between(scrapes[0], scrapes[1], c.All))
}

func firstProblem(s telemetry.Scrape) string {
	if len(s.Problems) == 0 {
		return ""
	}
	return ": " + s.Problems[0].String()
}

// source is where metrics are asked for.
func (c *telemetryCommand) source() (func(context.Context) ([]byte, error), error) {
	if c.URL != "" {
		return byURL(c.URL)
	}
	cluster, t, err := c.target(c.What[0])
	if err != nil {
		return nil, err
	}
	m := &kube.Metrics{Cluster: cluster, Target: t, Container: c.Container, Port: c.Port, Path: metricsPath}
	if c.Via != "auto" {
		m.Via = c.Via
	}
	return m.Fetch, nil
}

func byURL(text string) (func(context.Context) ([]byte, error), error) {
	address, err := url.Parse(text)
	if err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https" {
		return nil, command.Usage("--url %q is no address as http://127.0.0.1:15000", text)
	}
	if address.Path == "" || address.Path == "/" {
		address.Path = metricsPath
	}
	return func(ctx context.Context) ([]byte, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(request)
		if refused := (*net.OpError)(nil); errors.As(err, &refused) && refused.Op == "dial" {
			return nil, fmt.Errorf("nobody answers at %s: %w", address.Host, refused.Err)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s does not answer: is Envoy stopped?", address.Host)
		}
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s", address, answer.Status)
		}
		return kube.ReadMetrics(answer.Body)
	}, nil
}

// follow asks again and again.
func (c *telemetryCommand) follow(ctx context.Context, s *command.Streams, fetch func(context.Context) ([]byte, error)) error {
	events := json.NewEncoder(s.Out)
	first, last := telemetry.Follow(ctx, telemetry.Options{
		Fetch: fetch, Interval: c.Interval, Timeout: answerTime, UntilLive: c.Until == "live", All: c.All,
		Tell: func(e telemetry.Event) {
			switch {
			case c.Watch && c.JSON:
				_ = events.Encode(e)
			case c.Watch:
				fmt.Fprintln(s.Out, e)
			case e.Kind != telemetry.Moved:
				fmt.Fprintln(s.Err, "envoyshim:", e)
			}
		},
	})
	if last.Series == nil {
		return errors.New("interrupted before Envoy answered")
	}
	report := telemetry.Between(first, last, c.All)
	if first.Time.Equal(last.Time) { // it was LIVE already: what has moved since it began
		report = telemetry.Single(last, c.All)
	}
	if c.Watch && c.JSON {
		return events.Encode(struct {
			Event string `json:"event"`
			telemetry.Report
		}{"report", report})
	}
	if c.Watch {
		fmt.Fprintln(s.Out)
	}
	return c.report(s, report)
}

func (c *telemetryCommand) report(s *command.Streams, r telemetry.Report) error {
	if c.JSON {
		return s.JSON(r)
	}
	return r.Print(s.Out)
}
