package test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe/accesslog"
)

// logged is a real Envoy whose requests fail in all the ways that could be provoked, and its access log in several formats.
type logged struct {
	t                                               *testing.T
	dir                                             string
	admin, http, h2, authz, limited, dns, ecds, tcp int
}

// The formats of its access logs: a string of many kinds of operators, and a dictionary with keys that nobody knows and nested ones.
const (
	customFormat = `%START_TIME(%d/%b/%Y:%H:%M:%S.%6f %z)% %RESPONSE_CODE%%RESPONSE_FLAGS% [%RESPONSE_FLAGS_LONG%] 100%% ua="%REQ(USER-AGENT?X-NONE):20%" id=%REQ(X-REQUEST-ID)% ` +
		`%DYNAMIC_METADATA(none:key)% "%REQ(:METHOD)% %REQ(:PATH)%" %UPSTREAM_CLUSTER_RAW%|%UPSTREAM_HOST%|%ROUTE_NAME% tp=%REQ(TRACEPARENT)%`
	customDictionary = `{"wann": "%START_TIME%", "k1": "%RESPONSE_CODE%", "tief": {"k2": "%RESPONSE_FLAGS%", "k3": "%RESPONSE_FLAGS_LONG%", "liste": ["%REQ(:PATH)%", "%REQ(:METHOD)%"]},
		"k4": "%REQ(X-REQUEST-ID)%", "k5": "to %UPSTREAM_HOST% of %UPSTREAM_CLUSTER%", "k6": "%REQ(X-B3-TRACEID)%", "dauer": "%DURATION%"}`
	// As Istio's, with the long names beside.
	jsonFormat = `{"start_time": "%START_TIME%", "route_name": "%ROUTE_NAME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "protocol": "%PROTOCOL%",
		"response_code": "%RESPONSE_CODE%", "response_flags": "%RESPONSE_FLAGS%", "response_flags_long": "%RESPONSE_FLAGS_LONG%", "response_code_details": "%RESPONSE_CODE_DETAILS%",
		"request_id": "%REQ(X-REQUEST-ID)%", "authority": "%REQ(:AUTHORITY)%", "upstream_host": "%UPSTREAM_HOST%", "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%", "traceparent": "%REQ(TRACEPARENT)%",
		"duration": "%DURATION%", "user_agent": "%REQ(USER-AGENT)%"}`
)

// provoked are the requests by path, and the flags that Envoy gives them.
var provoked = map[string]string{
	"/ok": "-", "/uf": "UF", "/urx": "URX,UF", "/uh": "UH", "/ut": "UT", "/uc": "UC", "/upe": "UPE", "/ur": "UR", "/nc": "NC", "/uo": "UO", "/di": "DI", "/fi": "FI",
	"/rl": "RL", "/si": "SI", "/umsdr": "UMSDR", "/ih": "IH", "/nr": "NR", "/lh": "LH", "/udo": "UDO",
}

func startLogged(t *testing.T) *logged {
	t.Helper()
	l := &logged{t: t, dir: sharedDir(t)}
	for _, port := range []*int{&l.admin, &l.http, &l.h2, &l.authz, &l.limited, &l.dns, &l.ecds, &l.tcp} {
		*port = freePort(t)
	}
	upstream := func(handle http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(handle)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		return s.Listener.Addr().String()
	}
	ok := upstream(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60")
		fmt.Fprint(w, "hello")
	})
	slow := upstream(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	reset := upstream(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	denies := upstream(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	closer, garbage := tcpUpstream(t, ""), tcpUpstream(t, "this is no HTTP\r\n\r\n")

	cluster := func(name, address, more string) string {
		endpoints := ""
		if address != "" {
			host, port, _ := net.SplitHostPort(address)
			endpoints = fmt.Sprintf(`{"lb_endpoints":[{"endpoint":{"address":{"socket_address":{"address":%q,"port_value":%s}}}}]}`, host, port)
		}
		policy := ""
		if text, ok := strings.CutPrefix(more, "policy:"); ok {
			policy, more = `,"policy":`+text, ""
		}
		return fmt.Sprintf(`{"name":%q,"connect_timeout":"1s","load_assignment":{"cluster_name":%[1]q,"endpoints":[%s]%s}%s}`, name, endpoints, policy, more)
	}
	const h2 = `,"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions","explicit_http_config":{"http2_protocol_options":{}}}}`
	const dnsCache = `{"name":"cache","dns_lookup_family":"V4_ONLY"}`
	clusters := []string{
		cluster("ok", ok, ""), cluster("dead", "127.0.0.1:1", ""), cluster("empty", "", ""), cluster("slow", slow, ""), cluster("closer", closer, ""), cluster("garbage", garbage, ""),
		cluster("reset", reset, h2), cluster("authz", denies, ""), cluster("dead-grpc", "127.0.0.1:1", h2),
		cluster("short", slow, `,"typed_extension_protocol_options":{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":{"@type":"type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			"common_http_protocol_options":{"max_stream_duration":"0.2s"},"explicit_http_config":{"http_protocol_options":{}}}}`),
		cluster("full", ok, `,"circuit_breakers":{"thresholds":[{"max_pending_requests":0}]}`),
		cluster("dropping", ok, `policy:{"drop_overloads":[{"category":"all","drop_percentage":{"numerator":100}}]}`),
		cluster("thinning", ok, `policy:{"drop_overloads":[{"category":"most","drop_percentage":{"numerator":99}}]}`),
		`{"name":"forward","connect_timeout":"1s","lb_policy":"CLUSTER_PROVIDED","cluster_type":{"name":"envoy.clusters.dynamic_forward_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig","dns_cache_config":` + dnsCache + `}}}`,
	}
	fault := func(what string) string {
		return `,"typed_per_filter_config":{"envoy.filters.http.fault":{"@type":"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",` + what + `}}`
	}
	route := func(name, cluster, action, more string) string {
		return fmt.Sprintf(`{"name":"to-%s","match":{"path":"/%[1]s"},"route":{"cluster":%q%s}%s}`, name, cluster, action, more)
	}
	routes := []string{
		route("ok", "ok", "", ""), route("uf", "dead", "", ""), route("urx", "dead", `,"retry_policy":{"retry_on":"connect-failure","num_retries":1}`, ""), route("uh", "empty", "", ""),
		route("ut", "slow", `,"timeout":"0.2s"`, ""), route("uc", "closer", "", ""), route("upe", "garbage", "", ""), route("ur", "reset", "", ""), route("nc", "missing", "", ""),
		route("uo", "full", "", ""), route("di", "ok", "", fault(`"delay":{"fixed_delay":"0.01s","percentage":{"numerator":100}}`)),
		route("fi", "ok", "", fault(`"abort":{"http_status":418,"percentage":{"numerator":100}}`)),
		route("rl", "ok", "", `,"typed_per_filter_config":{"envoy.filters.http.local_ratelimit":{"@type":"type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit","stat_prefix":"rl",
			"token_bucket":{"max_tokens":1,"fill_interval":"3600s"},"filter_enabled":{"default_value":{"numerator":100}},"filter_enforced":{"default_value":{"numerator":100}}}}`),
		route("si", "slow", `,"idle_timeout":"0.2s","timeout":"0s"`, ""), route("umsdr", "short", `,"timeout":"0s"`, ""), route("ih", "ok", "", ""),
		route("dc", "slow", `,"timeout":"0s"`, ""), route("udo", "dropping", "", ""), route("do", "thinning", "", ""), route("cached", "ok", "", ""), route("dr", "slow", `,"timeout":"0s"`, ""),
	}
	quoted := func(format string) string { return fmt.Sprintf("%q", format+"\n") }
	log := func(name, format string) string {
		return fmt.Sprintf(`{"name":"envoy.access_loggers.file","typed_config":{"@type":"type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog","path":%q%s}}`, l.log(name), format)
	}
	logs := strings.Join([]string{
		log("default", ""), log("istio", `,"log_format":{"text_format_source":{"inline_string":`+quoted(accesslog.IstioFormat)+`}}`),
		log("custom", `,"log_format":{"text_format_source":{"inline_string":`+quoted(customFormat)+`}}`),
		log("json", `,"log_format":{"json_format":`+jsonFormat+`}`), log("nested", `,"log_format":{"json_format":`+customDictionary+`}`),
	}, ",")
	filter := func(name, kind, config string) string {
		return fmt.Sprintf(`{"name":"envoy.filters.http.%s","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.%s"%s}},`, name, kind, config)
	}
	listener := func(name string, port int, filters, routes string) string {
		return fmt.Sprintf(`{"name":%q,"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}},"filter_chains":[{"filters":[{"name":"hcm","typed_config":{
			"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":%[1]q,"access_log":[%[3]s],
			"use_remote_address":true,"internal_address_config":{"cidr_ranges":[{"address_prefix":"127.0.0.0","prefix_len":8}]},
			"route_config":{"name":"routes","validate_clusters":false,"virtual_hosts":[{"name":"all","domains":["*"],"routes":[%[4]s]}]},
			"http_filters":[%[5]s{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router","strict_check_headers":["x-envoy-upstream-rq-timeout-ms"]}}]}}]}]}`,
			name, port, logs, routes, filters)
	}
	all := filter("health_check", "health_check.v3.HealthCheck", `,"pass_through_mode":false,"headers":[{"name":":path","string_match":{"exact":"/lh"}}],"cluster_min_healthy_percentages":{"empty":{"value":100}}`) +
		filter("fault", "fault.v3.HTTPFault", "") + filter("local_ratelimit", "local_ratelimit.v3.LocalRateLimit", `,"stat_prefix":"rl"`)
	toOK := `{"name":"all","match":{"prefix":"/"},"route":{"cluster":"ok"}}`
	listeners := []string{
		listener("http", l.http, all, strings.Join(routes, ",")),
		listener("h2", l.h2, filter("cache", "cache.v3.CacheConfig", `,"typed_config":{"@type":"type.googleapis.com/envoy.extensions.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig"}`), strings.Join(routes, ",")),
		listener("authz", l.authz, filter("ext_authz", "ext_authz.v3.ExtAuthz", `,"http_service":{"server_uri":{"uri":"http://authz","cluster":"authz","timeout":"5s"}}`), toOK),
		listener("limited", l.limited, filter("ratelimit", "ratelimit.v3.RateLimit", `,"domain":"d","failure_mode_deny":true,"rate_limit_service":{"grpc_service":{"envoy_grpc":{"cluster_name":"dead-grpc"}},"transport_api_version":"V3"}`),
			`{"name":"all","match":{"prefix":"/"},"route":{"cluster":"ok","rate_limits":[{"actions":[{"generic_key":{"descriptor_value":"k"}}]}]}}`),
		listener("dns", l.dns, filter("dynamic_forward_proxy", "dynamic_forward_proxy.v3.FilterConfig", `,"dns_cache_config":`+dnsCache), `{"name":"all","match":{"prefix":"/"},"route":{"cluster":"forward"}}`),
		listener("ecds", l.ecds, `{"name":"late","config_discovery":{"config_source":{"path_config_source":{"path":"`+filepath.Join(l.dir, "ecds.json")+`"},"initial_fetch_timeout":"0.1s"},
			"type_urls":["type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"]}},`, toOK),
		fmt.Sprintf(`{"name":"tcp","address":{"socket_address":{"address":"127.0.0.1","port_value":%d}},"filter_chains":[{"filters":[{"name":"tcp","typed_config":{
			"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"tcp","cluster":"slow","max_downstream_connection_duration":"0.2s","access_log":[%s]}}]}]}`, l.tcp, logs),
	}
	must(t, os.WriteFile(filepath.Join(l.dir, "ecds.json"), []byte(`{"resources":[]}`), 0o644))
	config := fmt.Sprintf(`{"node":{"id":"n","cluster":"c"},"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":%d}}},"static_resources":{"clusters":[%s],"listeners":[%s]},}`,
		l.admin, strings.Join(clusters, ","), strings.Join(listeners, ","))
	must(t, os.WriteFile(filepath.Join(l.dir, "envoy.json"), []byte(config), 0o644))
	p := start(t, nil, realEnvoy(t), "-c", filepath.Join(l.dir, "envoy.json"), "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "--file-flush-interval-msec", "20")
	eventually(t, "Envoy is LIVE", func() bool {
		if !alive(p.pid()) {
			t.Fatalf("Envoy has ended:\n%s", p.err)
		}
		out, code := runAny(t, "curl", "-s", fmt.Sprintf("127.0.0.1:%d/ready", l.admin))
		return code == 0 && strings.Contains(out, "LIVE")
	})
	return l
}

func (l *logged) log(name string) string { return filepath.Join(l.dir, name+".log") }

// tcpUpstream reads a request, says something, and closes.
func tcpUpstream(t testing.TB, says string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, says)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// get makes a request with ids of a trace.
func (l *logged) get(port int, path string, headers ...string) {
	l.t.Helper()
	args := []string{"curl", "-s", "-o", "/dev/null", "-m", "20", "-H", "user-agent: a \" b", "-H", "traceparent: 00-d34ea2aa01d34d0fda79c6d09b097a83-fd0eae41e95a263c-01", "-H", "x-b3-traceid: 463ac35c9f6413ad48485a3953bb6124"}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	runAny(l.t, append(args, fmt.Sprintf("http://127.0.0.1:%d%s", port, path))...)
}

// provoke makes requests that fail in each way, one after the other, and waits until all are logged. It returns the flags in their order.
func (l *logged) provoke() []string {
	l.t.Helper()
	var want []string
	made := func(flags string) {
		l.t.Helper()
		want = append(want, flags)
		eventually(l.t, fmt.Sprintf("request %d, %s, is logged", len(want), flags), func() bool {
			for _, name := range []string{"default", "istio", "custom", "json", "nested"} {
				b, _ := os.ReadFile(l.log(name))
				if strings.Count(string(b), "\n") < len(want) {
					return false
				}
			}
			return true
		})
	}
	l.get(l.http, "/rl")
	made("-") // it takes the only token
	for path, flags := range provoked {
		if path == "/ih" {
			l.get(l.http, path, "x-envoy-upstream-rq-timeout-ms: soon")
		} else {
			l.get(l.http, path)
		}
		made(flags)
	}
	l.get(l.authz, "/")
	made("UAEX")
	l.get(l.limited, "/")
	made("RLSE")
	l.get(l.dns, "/", "host: nowhere.invalid")
	made("DF")
	l.get(l.ecds, "/")
	made("NFCF")
	l.get(l.h2, "/cached")
	made("-")
	l.get(l.h2, "/cached")
	made("RFCF")

	raw := func(port int, text string) net.Conn {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		must(l.t, err)
		_, err = io.WriteString(conn, text)
		must(l.t, err)
		return conn
	}
	conn := raw(l.http, "no HTTP at all\r\n\r\n")
	_, _ = bufio.NewReader(conn).ReadString('\n')
	conn.Close()
	made("DPE")
	active := func(n int) {
		eventually(l.t, "the request is under way", func() bool {
			out, _ := runAny(l.t, "curl", "-s", fmt.Sprintf("127.0.0.1:%d/stats?filter=cluster.slow.upstream_rq_active", l.admin))
			return strings.Contains(out, fmt.Sprintf(": %d", n))
		})
	}
	active(0)
	conn = raw(l.http, "GET /dc HTTP/1.1\r\nhost: x\r\n\r\n")
	active(1)
	conn.Close()
	made("DC")

	active(0)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		request, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("http://127.0.0.1:%d/dr", l.h2), nil)
		if answer, err := transport.RoundTrip(request); err == nil {
			answer.Body.Close()
		}
	}()
	active(1)
	cancel()
	<-done
	made("DR")

	conn = raw(l.tcp, "anything")
	_, _ = io.Copy(io.Discard, conn)
	conn.Close()
	made("DT")

	for range 100 { // of 100 requests 99 are dropped
		l.get(l.http, "/do")
		made("DO")
		b, _ := os.ReadFile(l.log("json"))
		if !strings.Contains(string(b[bytes.LastIndexByte(b[:len(b)-1], '\n')+1:]), `"response_flags":"-"`) {
			break
		}
		want[len(want)-1] = "-"
	}
	return want
}
