// Command xds is a real xDS server for tests: go-control-plane's, state of the world and delta, aggregated and not. It listens on a free port of
// 127.0.0.1, or on the address that is its argument, and has nothing to serve until it is told so on standard input, a line of JSON for each step:
//
//	{"version": "1", "resources": [{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "a", ...}]}
//	{"version": "2", "types": ["type.googleapis.com/envoy.config.cluster.v3.Cluster"], "resources": []}
//
// From then on the resources of those types, and of the ones named in "types", are these, of that version. So what comes late is answered late, and
// what is left out is withdrawn. Nothing is validated: Envoy is to see what is wrong.
//
// Standard output is the truth of what went over the wire: a line of JSON for each stream, request and response (record). It ends at the end of standard input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	clusterservice "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	endpointservice "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	listenerservice "github.com/envoyproxy/go-control-plane/envoy/service/listener/v3"
	routeservice "github.com/envoyproxy/go-control-plane/envoy/service/route/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3" // what resources may hold
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// identifier is what the server calls itself (DiscoveryResponse.control_plane).
const identifier = "xds-of-the-tests"

func main() {
	log.SetFlags(0)
	address := "127.0.0.1:0"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	snapshots := cache.NewSnapshotCache(false, anybody{}, nil)
	service := server.NewServer(context.Background(), snapshots, callbacks())
	s := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(s, service)
	clusterservice.RegisterClusterDiscoveryServiceServer(s, service)
	endpointservice.RegisterEndpointDiscoveryServiceServer(s, service)
	listenerservice.RegisterListenerDiscoveryServiceServer(s, service)
	routeservice.RegisterRouteDiscoveryServiceServer(s, service)
	secretservice.RegisterSecretDiscoveryServiceServer(s, service)
	go func() { log.Fatal(s.Serve(listener)) }()
	tell(record{Event: "listening", Address: listener.Addr().String()})

	serving := &cache.Snapshot{}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var st step
		err := json.Unmarshal(lines.Bytes(), &st)
		if err == nil {
			serving, err = st.after(serving)
		}
		if err == nil {
			err = snapshots.SetSnapshot(context.Background(), anyone, serving)
		}
		if err != nil {
			log.Fatalf("%s: %v", lines.Bytes(), err)
		}
		tell(record{Event: "serving", Version: st.Version})
	}
}

// A step is a line of standard input.
type step struct {
	Version   string            `json:"version"`
	Types     []string          `json:"types"`
	Resources []json.RawMessage `json:"resources"`
}

// after is what is served after the step.
func (st step) after(before *cache.Snapshot) (*cache.Snapshot, error) {
	byType := map[string][]types.Resource{}
	for _, t := range st.Types {
		byType[t] = nil
	}
	for _, raw := range st.Resources {
		var held anypb.Any
		if err := protojson.Unmarshal(raw, &held); err != nil {
			return nil, err
		}
		resource, err := held.UnmarshalNew()
		if err != nil {
			return nil, err
		}
		byType[held.TypeUrl] = append(byType[held.TypeUrl], resource)
	}
	changed, err := cache.NewSnapshot(st.Version, byType)
	if err != nil {
		return nil, err
	}
	now := &cache.Snapshot{Resources: before.Resources}
	for t := range byType {
		now.Resources[cache.GetResponseType(t)] = changed.Resources[cache.GetResponseType(t)]
	}
	return now, nil
}

// anybody makes all nodes one.
type anybody struct{}

const anyone = "anyone"

func (anybody) ID(*core.Node) string { return anyone }

// A record is a line of standard output.
type record struct {
	Event     string    `json:"event"` // listening, serving, open, request, response, closed
	Time      time.Time `json:"time"`
	Address   string    `json:"address,omitempty"`
	Stream    int64     `json:"stream,omitempty"`
	Delta     bool      `json:"delta,omitempty"`
	Type      string    `json:"type,omitempty"` // the type URL; of an aggregated stream that opens: ""
	Version   string    `json:"version,omitempty"`
	Nonce     string    `json:"nonce,omitempty"`
	Answer    string    `json:"answer,omitempty"` // of a request with a nonce: ACK or NACK
	Error     string    `json:"error,omitempty"`  // of a NACK
	Resources []string  `json:"resources,omitempty"`
	Versions  []string  `json:"versions,omitempty"` // of the resources of a delta response, which have their own
	Removed   []string  `json:"removed,omitempty"`
}

var telling sync.Mutex

func tell(r record) {
	telling.Lock()
	defer telling.Unlock()
	r.Time = time.Now()
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1) // nobody reads any more
	}
}

// versions are those that were sent last, by stream and type.
type versions struct {
	mu   sync.Mutex
	last map[string]string
}

func (v *versions) note(stream int64, typeURL, version string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last[fmt.Sprint(stream, typeURL)] = version
}

func (v *versions) version(stream int64, typeURL string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last[fmt.Sprint(stream, typeURL)]
}

func callbacks() server.Callbacks {
	sent := versions{last: map[string]string{}}
	// A nonce is answered once; later requests repeat it to subscribe to more.
	answered := map[string]bool{}
	var mu sync.Mutex
	answer := func(stream int64, delta bool, typeURL, nonce string, failed bool) string {
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(stream, delta, typeURL, nonce)
		if nonce == "" || answered[key] {
			return ""
		}
		answered[key] = true
		if failed {
			return "NACK"
		}
		return "ACK"
	}
	open := func(delta bool) func(context.Context, int64, string) error {
		return func(_ context.Context, stream int64, typeURL string) error {
			tell(record{Event: "open", Stream: stream, Delta: delta, Type: typeURL})
			return nil
		}
	}
	closed := func(delta bool) func(int64, *core.Node) {
		return func(stream int64, _ *core.Node) { tell(record{Event: "closed", Stream: stream, Delta: delta}) }
	}
	return server.CallbackFuncs{
		StreamOpenFunc: open(false), DeltaStreamOpenFunc: open(true), StreamClosedFunc: closed(false), DeltaStreamClosedFunc: closed(true),
		StreamRequestFunc: func(stream int64, r *discovery.DiscoveryRequest) error {
			tell(record{
				Event: "request", Stream: stream, Type: r.TypeUrl, Version: r.VersionInfo, Nonce: r.ResponseNonce,
				Answer: answer(stream, false, r.TypeUrl, r.ResponseNonce, r.ErrorDetail != nil), Error: r.ErrorDetail.GetMessage(), Resources: r.ResourceNames,
			})
			if r.ErrorDetail != nil {
				r.VersionInfo = sent.version(stream, r.TypeUrl) // as istiod: what was rejected is not sent again, some 700 times a second
			}
			return nil
		},
		StreamResponseFunc: func(_ context.Context, stream int64, _ *discovery.DiscoveryRequest, r *discovery.DiscoveryResponse) {
			r.ControlPlane = &core.ControlPlane{Identifier: identifier}
			sent.note(stream, r.TypeUrl, r.VersionInfo)
			tell(record{Event: "response", Stream: stream, Type: r.TypeUrl, Version: r.VersionInfo, Nonce: r.Nonce, Resources: names(r.Resources)})
		},
		StreamDeltaRequestFunc: func(stream int64, r *discovery.DeltaDiscoveryRequest) error {
			tell(record{
				Event: "request", Stream: stream, Delta: true, Type: r.TypeUrl, Nonce: r.ResponseNonce,
				Answer: answer(stream, true, r.TypeUrl, r.ResponseNonce, r.ErrorDetail != nil), Error: r.ErrorDetail.GetMessage(),
				Resources: r.ResourceNamesSubscribe, Removed: r.ResourceNamesUnsubscribe,
			})
			return nil
		},
		StreamDeltaResponseFunc: func(stream int64, _ *discovery.DeltaDiscoveryRequest, r *discovery.DeltaDiscoveryResponse) {
			r.ControlPlane = &core.ControlPlane{Identifier: identifier}
			var added, versions []string
			for _, resource := range r.Resources {
				added, versions = append(added, resource.Name), append(versions, resource.Version)
			}
			tell(record{
				Event: "response", Stream: stream, Delta: true, Type: r.TypeUrl, Version: r.SystemVersionInfo, Nonce: r.Nonce,
				Resources: added, Versions: versions, Removed: r.RemovedResources,
			})
		},
	}
}

// names are those of packed resources, sorted.
func names(packed []*anypb.Any) []string {
	var all []string
	for _, p := range packed {
		var name string
		if m, err := p.UnmarshalNew(); err == nil {
			name = cache.GetResourceName(m)
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
