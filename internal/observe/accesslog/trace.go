package accesslog

import (
	"regexp"
	"strings"
)

// A Trace is the place of a request in a distributed trace.
type Trace struct {
	System  string `json:"system"` // w3c, b3, x-ray, datadog; envoy where the log has the bare id
	TraceID string `json:"trace_id,omitempty"`
	SpanID  string `json:"span_id,omitempty"`
	Sampled *bool  `json:"sampled,omitempty"` // nil: not said, or to be decided later
}

func (t *Trace) String() string {
	text := t.System + " trace " + t.TraceID
	if t.SpanID != "" {
		text += " span " + t.SpanID
	}
	switch {
	case t.Sampled == nil:
	case *t.Sampled:
		text += " sampled"
	default:
		text += " not sampled"
	}
	return text
}

var (
	traceparent = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$`)
	b3          = regexp.MustCompile(`^([0-9a-fA-F]{16}(?:[0-9a-fA-F]{16})?)-([0-9a-fA-F]{16})(?:-([01d])(?:-[0-9a-fA-F]{16})?)?$`)
	xray        = regexp.MustCompile(`(?:^|;)\s*Root=(1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24})`)
	xrayParent  = regexp.MustCompile(`(?:^|;)\s*Parent=([0-9a-fA-F]{16})`)
	xraySampled = regexp.MustCompile(`(?:^|;)\s*Sampled=([01])`)
)

// w3c reads a traceparent (W3C Trace Context, 3.2).
func w3c(value string) *Trace {
	found := traceparent.FindStringSubmatch(value)
	if found == nil || strings.Trim(found[1], "0") == "" {
		return nil
	}
	flags := strings.IndexByte("0123456789abcdef", found[3][1])
	return &Trace{"w3c", found[1], found[2], truth(flags&1 == 1)}
}

// singleB3 reads a header b3 (openzipkin/b3-propagation).
func singleB3(value string) *Trace {
	found := b3.FindStringSubmatch(value)
	if found == nil {
		return nil
	}
	return &Trace{"b3", found[1], found[2], sampledB3(found[3])}
}

func sampledB3(value string) *bool {
	switch value {
	case "1", "d", "true":
		return truth(true)
	case "0", "false":
		return truth(false)
	}
	return nil
}

// amazon reads a header X-Amzn-Trace-Id.
func amazon(value string) *Trace {
	root := xray.FindStringSubmatch(value)
	if root == nil {
		return nil
	}
	t := &Trace{System: "x-ray", TraceID: root[1]}
	if found := xrayParent.FindStringSubmatch(value); found != nil {
		t.SpanID = found[1]
	}
	if found := xraySampled.FindStringSubmatch(value); found != nil {
		t.Sampled = truth(found[1] == "1")
	}
	return t
}

// traceOf finds the trace among the fields of a line: by the headers' names, else by what a value looks like.
func traceOf(fields []Field, value func(...string) string) *Trace {
	for _, try := range []struct {
		read func(string) *Trace
		from string
	}{
		{w3c, value("REQ(TRACEPARENT)")}, {singleB3, value("REQ(B3)")}, {amazon, value("REQ(X-AMZN-TRACE-ID)")},
	} {
		if t := try.read(try.from); t != nil {
			return t
		}
	}
	if id := value("REQ(X-B3-TRACEID)"); id != "" {
		sampled := value("REQ(X-B3-SAMPLED)")
		if value("REQ(X-B3-FLAGS)") == "1" {
			sampled = "d"
		}
		return &Trace{"b3", id, value("REQ(X-B3-SPANID)"), sampledB3(sampled)}
	}
	if id := value("REQ(X-DATADOG-TRACE-ID)"); id != "" {
		t := &Trace{System: "datadog", TraceID: id, SpanID: value("REQ(X-DATADOG-PARENT-ID)")}
		if priority := value("REQ(X-DATADOG-SAMPLING-PRIORITY)"); priority != "" {
			t.Sampled = truth(!strings.HasPrefix(priority, "-") && priority != "0")
		}
		return t
	}
	for _, f := range fields {
		for _, read := range []func(string) *Trace{w3c, amazon} {
			if t := read(f.Value); t != nil {
				return t
			}
		}
	}
	if id := value("TRACE_ID"); id != "" {
		return &Trace{System: "envoy", TraceID: id, SpanID: value("SPAN_ID")}
	}
	return nil
}

func truth(b bool) *bool { return &b }
