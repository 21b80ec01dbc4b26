//go:build linux

package client

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

func TestScopes(t *testing.T) {
	for prefix, want := range map[string]admin.Subscription{
		"cluster_manager.cds":                              {Type: "CDS"},
		"listener_manager.lds":                             {Type: "LDS"},
		"runtime.rtds_layer":                               {Type: "RTDS", Name: "rtds_layer"},
		"http.outbound_0.0.0.0_80.rds.80":                  {Type: "RDS", Name: "80"},
		"http.in.rds.a.b.c_9080":                           {Type: "RDS", Name: "a.b.c_9080"},
		"http.in.scoped_rds.s":                             {Type: "SRDS", Name: "s"},
		"cluster.outbound|9080||a.b.svc":                   {Type: "EDS", Name: "outbound|9080||a.b.svc"},
		"sds.default":                                      {Type: "SDS", Name: "default"},
		"cluster.a.client_ssl_socket_factory.sds.rootca":   {Type: "SDS", Name: "rootca"},
		"http.in.extension_config_discovery.http_filter.f": {Type: "ECDS", Name: "http_filter.f"},
		"something.else":                                   {Name: "something.else"},
	} {
		if got := subscription(prefix); got != want {
			t.Errorf("%s: %+v, want %+v", prefix, got, want)
		}
	}
}

func TestAddressOfTheTable(t *testing.T) {
	for field, want := range map[string]string{
		"0100007F:3A98":                         "127.0.0.1:15000",
		"00000000:1F90":                         "0.0.0.0:8080",
		"00000000000000000000000001000000:3A98": "[::1]:15000",
		"0000000000000000FFFF00000100007F:3A98": "127.0.0.1:15000",
	} {
		if got := tcpAddress(field); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
}

func TestUsable(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:15000": "127.0.0.1:15000", "[::]:15000": "[::1]:15000", "127.0.0.1:0": "", "10.0.0.1:9901": "10.0.0.1:9901", "/run/admin": "/run/admin", "": "",
	} {
		if got := usable(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}

// Whatever answers, nothing breaks, and what is there for all is told.
func FuzzReduce(f *testing.F) {
	for _, seed := range []string{
		`{"version":"a/1.40.0/b","state":"LIVE","uptime_current_epoch":"3s","command_line_options":{"restart_epoch":1}}`,
		`{"listener_statuses":[{"name":"a","local_address":{"pipe":{"path":"/x"}},"additional_local_addresses":[{"envoy_internal_address":{}}]}]}`,
		`{"stats":[{"name":"cluster.a.version_text","value":"1"},{"name":"cluster.a.update_time","value":1795373360646},{"histograms":{"computed_quantiles":[{"name":"server.initialization_time_ms","values":[{"cumulative":2450}]}]}}]}`,
		`{"configs":[{"dynamic_listeners":[{"name":"a","active_state":{"version_info":"1"},"error_state":{"details":"no"}},{"error_state":{"failed_configuration":{"name":"a"}}},{}]}]}`,
		`{"configs":[{"dynamic_active_clusters":[{"error_state":{}}],"dynamic_endpoint_configs":[{"endpoint_config":{"cluster_name":"a"}}]}]}`,
		`{"stats":[{"histograms":{}},{"value":-1},{"value":"x"}]}`, `null`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := new(admin.Snapshot)
		for _, document := range []interface{ reduce(*admin.Snapshot) }{&serverInfo{}, &listeners{}, &stats{}, &configDump{}} {
			if json.Unmarshal(text, document) == nil {
				document.reduce(s)
			}
		}
		for _, r := range s.XDS {
			if r.Type == "" || r.TypeURL == "" || r.Status == "" {
				t.Errorf("%+v", r)
			}
		}
		parseLevels(string(text))
	})
}

func TestLevelsAreParsed(t *testing.T) {
	for text, want := range map[string]admin.Levels{
		"active loggers:\n  main: info\n  admin: debug\n\n": {Loggers: []admin.Logger{{Name: "admin", Level: "debug"}, {Name: "main", Level: "info"}}},
		"active loggers:\n\n":                               {FineGrain: true, Loggers: []admin.Logger{}},
		"active loggers:\n  source/a.cc: info\n":            {FineGrain: true, Loggers: []admin.Logger{{Name: "source/a.cc", Level: "info"}}},
	} {
		if got := parseLevels(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}
