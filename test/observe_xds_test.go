package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// An xdsServer is a real one (test/xds), whose records are the truth of what went over the wire.
type xdsServer struct {
	*process
	in      io.Writer
	address string
}

// xdsRecord is a line of its output.
type xdsRecord struct {
	Event, Address, Type, Version, Nonce, Answer, Error string
	Time                                                time.Time
	Resources, Versions, Removed                        []string
}

// startXDS starts one, by another command than its own when that is given.
func startXDS(t testing.TB, argv ...string) *xdsServer {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	if len(argv) == 0 {
		argv = []string{cached(t, "xds/xds")}
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = r
	x := &xdsServer{process: startCmd(t, nil, cmd), in: w}
	_ = r.Close()
	t.Cleanup(func() { _ = w.Close() })
	x.address = x.await("listening", func(r xdsRecord) bool { return r.Event == "listening" }).Address
	return x
}

// records are those so far.
func (x *xdsServer) records() (all []xdsRecord) {
	for i := range x.out.len() {
		line, _ := x.out.at(i)
		var r xdsRecord
		must(x.t, json.Unmarshal([]byte(line), &r))
		all = append(all, r)
	}
	return all
}

func (x *xdsServer) await(what string, ok func(xdsRecord) bool) (found xdsRecord) {
	x.t.Helper()
	eventually(x.t, "the xDS server tells of "+what, func() bool {
		all := x.records()
		i := slices.IndexFunc(all, ok)
		if i >= 0 {
			found = all[i]
		}
		return i >= 0
	})
	return found
}

// serve replaces resources, of the types that are among them or are named.
func (x *xdsServer) serve(version string, types []string, resources ...any) {
	x.t.Helper()
	must(x.t, json.NewEncoder(x.in).Encode(map[string]any{"version": version, "types": types, "resources": resources}))
}

// answered waits for the answer to a version of a type, and returns the response with it.
func (x *xdsServer) answered(short, version, answer string) (response, reply xdsRecord) {
	x.t.Helper()
	url := admin.TypeURLs[short]
	response = x.await(short+" "+version, func(r xdsRecord) bool { return r.Event == "response" && r.Type == url && r.Version == version })
	reply = x.await("the answer to "+short+" "+version, func(r xdsRecord) bool {
		return r.Event == "request" && r.Type == url && r.Nonce == response.Nonce && r.Answer != ""
	})
	if reply.Answer != answer {
		x.t.Fatalf("%s %s was answered by %s (%s), not %s", short, version, reply.Answer, reply.Error, answer)
	}
	return response, reply
}

// bootstrap makes Envoy ask the server: for all by one stream, or each for itself; the state of the world, or what changes.
func (x *xdsServer) bootstrap(adminPort int, aggregated, delta bool) string {
	x.t.Helper()
	api := map[string]any{"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds"}}}}
	if delta {
		api["api_type"] = "DELTA_GRPC"
	}
	host, port, err := net.SplitHostPort(x.address)
	must(x.t, err)
	dynamic := map[string]any{"cds_config": xdsSource(aggregated, delta), "lds_config": xdsSource(aggregated, delta)}
	if aggregated {
		dynamic["ads_config"] = api
	}
	text, err := json.Marshal(map[string]any{
		"node":              map[string]any{"id": "the-node", "cluster": "c"},
		"admin":             map[string]any{"address": socketAddress("127.0.0.1", adminPort)},
		"dynamic_resources": dynamic,
		"static_resources": map[string]any{"clusters": []any{map[string]any{
			"name": "xds", "connect_timeout": "5s",
			"typed_extension_protocol_options": map[string]any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": map[string]any{
				"@type":                "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
				"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
			}},
			"load_assignment": endpoints("xds", host, port),
		}}},
	})
	must(x.t, err)
	return string(text)
}

func xdsSource(aggregated, delta bool) any {
	switch kind := map[bool]string{false: "GRPC", true: "DELTA_GRPC"}[delta]; {
	case aggregated:
		return map[string]any{"resource_api_version": "V3", "ads": map[string]any{}}
	default:
		return map[string]any{"resource_api_version": "V3", "api_config_source": map[string]any{
			"api_type": kind, "transport_api_version": "V3", "grpc_services": []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds"}}},
		}}
	}
}

func socketAddress(host string, port any) any {
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": port}}
}

func endpoints(cluster, host, port string) map[string]any {
	return map[string]any{"cluster_name": cluster, "endpoints": []any{map[string]any{"lb_endpoints": []any{
		map[string]any{"endpoint": map[string]any{"address": socketAddress(host, json.Number(port))}},
	}}}}
}

// typed is a resource of a discovery service.
func typed(short string, resource map[string]any) map[string]any {
	resource["@type"] = admin.TypeURLs[short]
	return resource
}

// xdsListener is one whose routes come by RDS. Without a stat prefix Envoy rejects it.
func xdsListener(name string, port int, statPrefix, routes string, source any) map[string]any {
	return typed("LDS", map[string]any{"name": name, "address": socketAddress("127.0.0.1", port), "filter_chains": []any{map[string]any{"filters": []any{map[string]any{
		"name": "http", "typed_config": map[string]any{
			"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"stat_prefix": statPrefix, "rds": map[string]any{"route_config_name": routes, "config_source": source},
			"http_filters": []any{map[string]any{"name": "router", "typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
		},
	}}}}})
}

func xdsCluster(name string, source any) map[string]any {
	return typed("CDS", map[string]any{"name": name, "type": "EDS", "connect_timeout": "5s", "eds_cluster_config": map[string]any{"eds_config": source}})
}

func xdsRoutes(name, cluster string) map[string]any {
	return typed("RDS", map[string]any{"name": name, "virtual_hosts": []any{map[string]any{"name": "all", "domains": []any{"*"}, "routes": []any{
		map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": cluster}},
	}}}})
}

// What Envoy tells of xDS by its admin port, and by its log, is what the server saw.
func TestXDSIsToldAsTheServerSawIt(t *testing.T) {
	for _, aggregated := range []bool{true, false} {
		for _, delta := range []bool{false, true} {
			for _, unified := range []bool{false, true} {
				t.Run(fmt.Sprintf("aggregated %v, delta %v, unified %v", aggregated, delta, unified), func(t *testing.T) { testXDS(t, aggregated, delta, unified) })
			}
		}
	}
}

func testXDS(t *testing.T, aggregated, delta, unified bool) {
	x := startXDS(t)
	source := xdsSource(aggregated, delta)
	one, two := freePort(t), freePort(t)
	args := []string{"--component-log-level", "config:trace"}
	if unified {
		args = append(args, "--config-yaml", `{"layered_runtime":{"layers":[{"name":"test","static_layer":{"envoy.reloadable_features.unified_mux":true}}]}}`)
	}
	if aggregated {
		args = append(args, "--log-format", "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t") // as pilot-agent has it
	}
	envoy := startEnvoy(t, "1.40.0", "a.json", x.bootstrap(freePort(t), aggregated, delta), args...)
	a := askAdmin(t, envoy.pid(), "")

	// Nothing has come: it waits for its clusters.
	s := a.snapshotWhen("the stream is open", func(s admin.Snapshot) bool { return s.Connected })
	if s.State != admin.PreInitializing || len(s.XDS) != 0 || len(s.Listeners) != 0 || s.Workers || s.Node != "the-node" {
		t.Errorf("before the first answer: %+v", s)
	}

	// A cluster waits for its endpoints. The listener is not even asked for.
	x.serve("c1", nil, xdsCluster("a", source))
	x.answered("CDS", "c1", "ACK")
	s = a.snapshotWhen("the cluster is warming", func(s admin.Snapshot) bool { return s.WarmingClusters == 1 })
	x.resource(s, "CDS", "a", "c1", admin.Warming)
	if s.State != admin.PreInitializing || s.ControlPlane != "xds-of-the-tests" {
		t.Errorf("while the cluster is warming: %+v", s)
	}

	// A listener waits for its routes. At the start it is not counted as warming: all wait together.
	// Its turn is after the clusters; a server of delta would say that there is none, if it had none then.
	x.serve("l1", nil, xdsListener("one", one, "in", "routes", source))
	x.serve("e1", nil, typed("EDS", endpoints("a", "127.0.0.1", "1")))
	x.answered("EDS", "e1", "ACK")
	x.answered("LDS", "l1", "ACK")
	s = a.snapshotWhen("routes are asked for", func(s admin.Snapshot) bool { return s.State == admin.Initializing })
	x.resource(s, "CDS", "a", "c1", admin.Accepted)
	x.resource(s, "LDS", "one", "l1", admin.Warming)
	if s.Workers {
		t.Errorf("before the routes: %+v", s)
	}

	x.serve("r1", nil, xdsRoutes("routes", "a"))
	x.answered("RDS", "r1", "ACK")
	s = a.snapshotWhen("it is LIVE", func(s admin.Snapshot) bool { return s.State == admin.Live && s.Workers })
	for _, r := range []struct{ short, name, version string }{{"CDS", "a", "c1"}, {"EDS", "a", "e1"}, {"LDS", "one", "l1"}, {"RDS", "routes", "r1"}} {
		got := x.resource(s, r.short, r.name, r.version, admin.Accepted)
		// It was taken between the server's sending it and Envoy's answer; of EDS milliseconds are told, cut.
		response, reply := x.answered(r.short, r.version, "ACK")
		if got.Updated == nil || got.Updated.Before(response.Time.Truncate(time.Millisecond)) || got.Updated.After(reply.Time) {
			t.Errorf("%s was updated at %v, sent at %s and answered at %s", r.short, got.Updated, response.Time, reply.Time)
		}
	}
	if len(s.Listeners) != 1 || s.Listeners[0].Name != "one" || !slices.Equal(s.Listeners[0].Addresses, []string{fmt.Sprintf("127.0.0.1:%d", one)}) {
		t.Errorf("listeners: %+v", s.Listeners)
	}
	for _, sub := range s.Subscriptions {
		if sub.Success != 1 || sub.Rejected != 0 || sub.Failure != 0 || sub.Updated == nil {
			t.Errorf("subscription: %+v", sub)
		}
		if !aggregated && (!sub.Connected || sub.ControlPlane != "xds-of-the-tests") {
			t.Errorf("subscription with a stream of its own: %+v", sub)
		}
	}

	// A newer listener is rejected, the older one stays; and one that never was.
	x.serve("l2", nil, xdsListener("one", one, "", "routes", source), xdsListener("two", two, "", "routes", source))
	_, nack := x.answered("LDS", "l2", "NACK")
	s = a.snapshotWhen("the rejection is told", func(s admin.Snapshot) bool {
		return slices.ContainsFunc(s.Subscriptions, func(sub admin.Subscription) bool { return sub.Type == "LDS" && sub.Rejected == 1 })
	})
	x.resource(s, "LDS", "one", "l1", admin.Accepted)
	x.resource(s, "LDS", "two", "", admin.Rejected)
	for _, r := range s.XDS {
		const why = "Proto constraint validation failed (HttpConnectionManagerValidationError.StatPrefix: value length must be at least 1 characters)"
		if r.Type != "LDS" {
			if r.Rejection != nil {
				t.Errorf("%+v", r)
			}
			continue
		}
		if r.Rejection == nil || !strings.Contains(r.Rejection.Details, why) || !strings.Contains(nack.Error, why) || strings.Contains(r.Rejection.Details, "goo.gle") {
			t.Errorf("%s: rejection %+v, the server was told %s", r.Name, r.Rejection, nack.Error)
		} else if at := r.Rejection.Time; at == nil || at.After(nack.Time) {
			t.Errorf("%s was rejected at %v, and the server told at %s", r.Name, at, nack.Time)
		}
	}
	if n := len(xdsOf(s, "LDS")); n != 2 {
		t.Errorf("%d listeners: %+v", n, xdsOf(s, "LDS"))
	}

	// A later listener does not wait for others, nor do they for it.
	x.serve("l3", nil, xdsListener("one", one, "in", "routes", source), xdsListener("two", two, "in", "later", source))
	x.answered("LDS", "l3", "ACK")
	s = a.snapshotWhen("the listener is warming", func(s admin.Snapshot) bool { return s.WarmingListeners == 1 })
	x.resource(s, "LDS", "two", "l3", admin.Warming)
	if got := xdsOf(s, "LDS"); slices.ContainsFunc(got, func(r admin.Resource) bool { return r.Rejection != nil }) || s.State != admin.Live {
		t.Errorf("after what was wrong was mended: %+v", got)
	}
	x.serve("r2", nil, xdsRoutes("routes", "a"), xdsRoutes("later", "a"))
	x.answered("RDS", "r2", "ACK")
	s = a.snapshotWhen("the listener is active", func(s admin.Snapshot) bool { return s.WarmingListeners == 0 && len(s.Listeners) == 2 })
	x.resource(s, "LDS", "two", "l3", admin.Accepted)

	// All is withdrawn.
	x.serve("l4", []string{admin.TypeURLs["LDS"]})
	x.answered("LDS", "l4", "ACK")
	s = a.snapshotWhen("the listener is gone", func(s admin.Snapshot) bool { return len(s.Listeners) == 0 })
	if left := slices.DeleteFunc(xdsOf(s, "LDS"), func(r admin.Resource) bool { return r.Status == admin.Drained }); len(left) != 0 {
		t.Errorf("still there: %+v", left)
	}
	compareXDSLog(t, envoy, x, aggregated, delta, unified)
}

func xdsOf(s admin.Snapshot, short string) (all []admin.Resource) {
	for _, r := range s.XDS {
		if r.Type == short {
			all = append(all, r)
		}
	}
	return all
}

// resource is one that Envoy has of a version that the server sent; in delta each has a version of its own, but the endpoints' is not told.
func (x *xdsServer) resource(s admin.Snapshot, short, name, version string, status admin.Status) admin.Resource {
	x.t.Helper()
	for _, r := range x.records() {
		i := slices.Index(r.Resources, name)
		if r.Event == "response" && r.Type == admin.TypeURLs[short] && r.Version == version && i >= 0 && i < len(r.Versions) && short != "EDS" {
			version = r.Versions[i]
			break
		}
	}
	for _, r := range xdsOf(s, short) {
		if r.Name == name && r.Version == version && r.Status == status && r.TypeURL == admin.TypeURLs[short] {
			return r
		}
	}
	x.t.Fatalf("%s %s of version %q is not %s: %+v (%s)", short, name, version, status, s.XDS, s.Error)
	return admin.Resource{}
}

// compareXDSLog compares Envoy's log with the server's records: each response came, in that order, and was taken or not; with its nonce, where that is told.
func compareXDSLog(t *testing.T, envoy *process, x *xdsServer, aggregated, delta, unified bool) {
	t.Helper()
	var got, want []string
	for line := range strings.Lines(envoy.err.String()) {
		e, ok := admin.ParseXDSLine(strings.TrimSuffix(line, "\n"))
		if !ok {
			continue
		}
		if e.Time.IsZero() || time.Since(e.Time) > time.Hour {
			t.Errorf("no time in %s", line)
		}
		switch e.Kind {
		case admin.XDSReceived:
			got = append(got, "received "+e.Type+" "+e.Version)
		case admin.XDSAccepted:
			got = append(got, "ACK "+e.Type)
		case admin.XDSRejected:
			got = append(got, "NACK "+e.Type)
		case admin.XDSRequest:
			got = append(got, "nonce "+e.Type+" "+e.Nonce)
		}
	}
	for _, r := range x.records() {
		short := admin.ShortType(r.Type)
		switch {
		case r.Event == "response":
			version := r.Version
			if unified {
				version = "" // is not told
			}
			want = append(want, "received "+short+" "+version)
		case r.Event == "request" && r.Answer != "":
			want = append(want, r.Answer+" "+short)
			if !delta || unified {
				want = append(want, "nonce "+short+" "+r.Nonce)
			}
		}
	}
	// What the server sent, and what it received, crossed on the wire: each is in order for its type.
	for short := range admin.TypeURLs {
		if short == "RDS" && !aggregated {
			continue // two streams, of which one gets what only the other asked for
		}
		of := func(all []string) (some []string) {
			for _, line := range all {
				if strings.Fields(line)[1] == short {
					some = append(some, line)
				}
			}
			return some
		}
		// Each subscription takes a response, and a later request for more repeats the nonce.
		if got, want := slices.Compact(of(got)), of(want); !slices.Equal(got, want) {
			t.Errorf("%s: Envoy's log tells\n%q, the server saw\n%q", short, got, want)
		}
	}
	if len(got) == 0 {
		t.Error("nothing was told")
	}
}
