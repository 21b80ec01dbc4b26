package admin

import (
	"testing"
	"time"
)

// The lines are the real Envoy's.
func TestParseXDSLine(t *testing.T) {
	const cds, lds = "type.googleapis.com/envoy.config.cluster.v3.Cluster", "type.googleapis.com/envoy.config.listener.v3.Listener"
	local := func(ms int) time.Time { return time.Date(2026, 11, 22, 18, 49, 19, ms*1e6, time.Local) }
	for line, want := range map[string]XDSEvent{
		"[2026-11-22 18:49:19.637][9178][debug][config] [source/extensions/config_subscription/grpc/grpc_mux_impl.cc:367] Received gRPC message for " + cds + " at version 1": {
			Time: local(637), Kind: XDSReceived, Type: "CDS", TypeURL: cds, Version: "1"},
		"[2026-11-22 18:49:19.638][9178][debug][config] [source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:111] gRPC config for " + cds + " accepted with 1 resources with version 1": {
			Time: local(638), Kind: XDSAccepted, Type: "CDS", TypeURL: cds, Version: "1"},
		"[2026-11-22 18:49:19.638][9178][debug] [source/extensions/config_subscription/grpc/delta_subscription_state.cc:275] Delta config for " + lds + " accepted with 1 resources added, 0 removed": {
			Time: local(638), Kind: XDSAccepted, Type: "LDS", TypeURL: lds},
		"[2026-11-22 18:49:19.657][9178][warning][config] [source/extensions/config_subscription/grpc/grpc_subscription_impl.cc:160] gRPC config for " + lds + " rejected: Error adding/updating listener(s) one: goo.gle/debugonly    ": {
			Time: local(657), Kind: XDSRejected, Type: "LDS", TypeURL: lds, Details: "Error adding/updating listener(s) one: goo.gle/debugonly"},
		`[2026-11-22 18:49:19.639][9178][trace][config] [source/extensions/config_subscription/grpc/grpc_mux_impl.cc:199] Sending DiscoveryRequest for ` + cds +
			`: goo.gle/debugonly   version_info: "1" node { id: "n" cluster: "c" } type_url: "` + cds + `" response_nonce: "7"`: {
			Time: local(639), Kind: XDSRequest, Type: "CDS", TypeURL: cds, Version: "1", Nonce: "7"},
		"2026-11-22T18:49:19.637000Z\tdebug\tenvoy config source/extensions/config_subscription/grpc/new_grpc_mux_impl.cc:161\tReceived DeltaDiscoveryResponse for " + lds + " at version 2026-11-22T18:49:18Z/4\tthread=25": {
			Time: time.Date(2026, 11, 22, 18, 49, 19, 637e6, time.UTC), Kind: XDSReceived, Type: "LDS", TypeURL: lds, Version: "2026-11-22T18:49:18Z/4"},
		"[2026-11-22 18:49:19.638][9178][debug][config] [source/extensions/config_subscription/grpc/xds_mux/sotw_subscription_state.cc:96] Config update for " + lds + " (version 1) accepted with 1 resources": {
			Time: local(638), Kind: XDSAccepted, Type: "LDS", TypeURL: lds, Version: "1"},
		"[2026-11-22 18:49:19.638][9178][debug][config] [./source/extensions/config_subscription/grpc/xds_mux/subscription_state.h:71] Handling response for " + lds: {
			Time: local(638), Kind: XDSReceived, Type: "LDS", TypeURL: lds},
		"2026-11-22T18:49:19.637000Z\tdebug\tenvoy config ./source/extensions/config_subscription/grpc/xds_mux/subscription_state.h:101\tACK for " + lds + " will have nonce 7\tthread=25": {
			Time: time.Date(2026, 11, 22, 18, 49, 19, 637e6, time.UTC), Kind: XDSRequest, Type: "LDS", TypeURL: lds, Nonce: "7"},
		"Received gRPC message for type.googleapis.com/x.Y at version ": {Kind: XDSReceived, Type: "Y", TypeURL: "type.googleapis.com/x.Y"},
	} {
		if got, ok := ParseXDSLine(line); !ok || got != want {
			t.Errorf("%s\n%+v, want\n%+v", line, got, want)
		}
	}
	for _, line := range []string{
		"", "Received gRPC message for", "[2026-11-22 18:49:18.1][1][info][main] [source/server/server.cc:1] starting main dispatch loop",
		"Sending DiscoveryRequest for " + cds + `: version_info: "" node { id: "n" }`, // the first request answers nothing
	} {
		if e, ok := ParseXDSLine(line); ok {
			t.Errorf("%q: %+v", line, e)
		}
	}
}

func FuzzParseXDSLine(f *testing.F) {
	f.Add("[2026-11-22 18:49:19.637][9178][debug][config] [a.cc:1] Received gRPC message for type.googleapis.com/envoy.config.cluster.v3.Cluster at version 1")
	f.Add("[Received gRPC message for type.googleapis.com/. at version \t")
	f.Fuzz(func(t *testing.T, line string) {
		if e, ok := ParseXDSLine(line); ok && (e.Kind == "" || e.TypeURL == "") {
			t.Errorf("%q: %+v", line, e)
		}
	})
}
