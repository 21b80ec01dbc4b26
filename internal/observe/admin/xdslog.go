package admin

import (
	"regexp"
	"strings"
	"sync"
	"time"
)

// An XDSEvent is what one line of Envoy's log tells of xDS.
type XDSEvent struct {
	Time    time.Time `json:"time"` // zero when the line's format has none that is known
	Kind    XDSKind   `json:"event"`
	Type    string    `json:"type"` // as of a [Resource]
	TypeURL string    `json:"type_url"`
	Version string    `json:"version,omitempty"` // where the line has one
	Nonce   string    `json:"nonce,omitempty"`   // of an answer
	Details string    `json:"details,omitempty"` // of a rejection: the first line
}

// XDSKind is what happened.
type XDSKind string

// The kinds, with the level of the logger config, or of the files source/extensions/config_subscription/grpc/*, that tells of them. Of delta, as Istio's,
// no line has a nonce unless Envoy runs with the runtime feature envoy.reloadable_features.unified_mux, whose lines have it at debug, but no version when
// a response comes. Each subscription of a type tells that it took a response, or did not: RDS may have several.
const (
	XDSReceived XDSKind = "received" // debug; a response came
	XDSAccepted XDSKind = "accepted" // debug
	XDSRejected XDSKind = "rejected" // warning; by some lines twice
	XDSRequest  XDSKind = "request"  // trace; a request that answers the response with that Nonce, or asks for more after it, and has the Version that is in use
)

// An xdsLine is one form of message.
type xdsLine struct {
	kind XDSKind
	text *regexp.Regexp // of the type URL, and of what else there is
}

// xdsLines are messages of source/extensions/config_subscription/grpc: grpc_mux_impl.cc, new_grpc_mux_impl.cc, grpc_subscription_impl.cc,
// delta_subscription_state.cc; and of the unified multiplexer, xds_mux/*, which is used with the runtime feature envoy.reloadable_features.unified_mux. They are compiled when there is a log to read, not at each start of a program.
var xdsLines = sync.OnceValue(func() []xdsLine {
	of := func(text string) *regexp.Regexp {
		return regexp.MustCompile(strings.ReplaceAll(text, "TYPE", `(?<type>type\.googleapis\.com/[\w.]+)`))
	}
	return []xdsLine{
		{XDSReceived, of(`Received (?:gRPC message|DeltaDiscoveryResponse) for TYPE at version (?<version>.*)`)},
		{XDSReceived, of(`Handling response for TYPE`)},
		{XDSAccepted, of(`gRPC config for TYPE accepted with \d+ resources with version (?<version>.*)`)},
		{XDSAccepted, of(`Config update for TYPE \(version (?<version>.*)\) accepted with \d+ resources`)},
		{XDSAccepted, of(`Delta config for TYPE accepted with \d+ resources added, \d+ removed`)},
		{XDSRejected, of(`(?:gRPC config|Config) for TYPE rejected: (?<details>.*)`)},
		{XDSRequest, of(`Sending DiscoveryRequest for TYPE: (?:.*?\bversion_info: "(?<version>[^"]*)")?.*\bresponse_nonce: "(?<nonce>[^"]+)"`)},
		{XDSRequest, of(`ACK for TYPE will have nonce (?<nonce>\S+)`)},
	}
})

// logTimes are how lines begin: by Envoy's own --log-format, in local time, and by Istio's, in UTC.
var logTimes = []struct {
	prefix, layout string
	zone           *time.Location
}{
	{"[", "2006-01-02 15:04:05.000", time.Local},
	{"", "2006-01-02T15:04:05.000000Z", time.UTC},
}

// ParseXDSLine reads one line of Envoy's log; false when it does not tell of xDS.
func ParseXDSLine(line string) (XDSEvent, bool) {
	if !strings.Contains(line, "type.googleapis.com/") {
		return XDSEvent{}, false
	}
	for _, l := range xdsLines() {
		m := l.text.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		e := XDSEvent{Kind: l.kind}
		for i, name := range l.text.SubexpNames() {
			switch name {
			case "type":
				e.TypeURL = m[i]
				e.Type = ShortType(m[i])
			case "version":
				e.Version, _, _ = strings.Cut(m[i], "\t") // what follows is Istio's format
			case "nonce":
				e.Nonce = m[i]
			case "details":
				e.Details, _, _ = strings.Cut(m[i], "\t")
				e.Details = strings.TrimSpace(e.Details)
			}
		}
		for _, t := range logTimes {
			rest, ok := strings.CutPrefix(line, t.prefix)
			if ok && len(rest) >= len(t.layout) {
				if at, err := time.ParseInLocation(t.layout, rest[:len(t.layout)], t.zone); err == nil {
					e.Time = at
				}
			}
		}
		return e, true
	}
	return XDSEvent{}, false
}

// TypeURLs are those of resources, by the short names of their discovery services.
var TypeURLs = map[string]string{
	"CDS":  "type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"LDS":  "type.googleapis.com/envoy.config.listener.v3.Listener",
	"RDS":  "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	"SRDS": "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration",
	"VHDS": "type.googleapis.com/envoy.config.route.v3.VirtualHost",
	"EDS":  "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	"SDS":  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
	"ECDS": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
	"RTDS": "type.googleapis.com/envoy.service.runtime.v3.Runtime",
}

// ShortType is the short name of the discovery service of a type URL, or the last word of that.
func ShortType(typeURL string) string {
	for short, url := range TypeURLs {
		if url == typeURL {
			return short
		}
	}
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:]
}
