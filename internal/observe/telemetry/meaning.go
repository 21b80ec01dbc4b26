package telemetry

import (
	"regexp"
	"slices"
	"strings"
)

// A Meaning is what a metric tells of a start, in plain words.
type Meaning struct {
	Name  string `json:"name"` // of the metric; * stands for anything
	Means string `json:"means"`
	Look  string `json:"look_at"` // when it is wrong
	wrong check
}

// check says when a value is wrong.
type check func(v Value, live bool) bool

func any0(v Value, _ bool) bool       { return v.Number > 0 }
func never(Value, bool) bool          { return false }
func none(v Value, _ bool) bool       { return v.Number == 0 }
func notZero(v Value, live bool) bool { return v.Number != 0 && live }
func notLive(v Value, live bool) bool { return v.Number != 0 && !live }

// Meanings are of Envoy 1.40's statistics (its documentation: server, listener manager, cluster manager, xDS subscription, cluster), in the order in
// which a start comes to them.
var Meanings = []Meaning{
	{"envoy_server_state", "0 LIVE, 1 DRAINING, 2 PRE_INITIALIZING (static clusters), 3 INITIALIZING (xDS, warming); set every 5 s",
		"/init_dump on the admin port names what Envoy waits for; /listeners, /clusters", notLive},
	{"envoy_server_live", "1 unless this Envoy is draining", "/healthcheck/ok undoes /healthcheck/fail; /drain_listeners", none},
	{"envoy_server_initialization_time_ms", "how long the start took until the workers were started", "`kubectl envoyshim timeline POD`: which phase took it", never},
	{"envoy_listener_manager_workers_started", "1 when the workers accept connections, and Envoy is LIVE", "/init_dump; the warming clusters and listeners below; the xDS server", none},
	{"envoy_server_static_unknown_fields", "fields of the bootstrap that this version does not know", "Envoy's log at the start; whether the bootstrap is of another version", any0},
	{"envoy_server_dynamic_unknown_fields", "fields of xDS resources that this version does not know", "Envoy's log; the version of the control plane", any0},
	{"envoy_runtime_load_error", "layers of the runtime that could not be read", "/runtime; layered_runtime of the bootstrap", any0},
	{"envoy_control_plane_connected_state", "1 while the stream to the xDS server is open", "the xDS cluster in /clusters, its upstream_cx_connect_fail and ssl.*; pilot-agent's log and istiod (port 15012)", none},
	{"envoy_control_plane_pending_requests", "xDS requests held back by the rate limit", "rate_limit_settings of ads_config", any0},
	{"envoy_cluster_manager_cds_update_rejected", "answers with clusters that Envoy refused", "/config_dump: error_state of dynamic clusters; Envoy's log has the reason (`loglevel POD config=debug`); the last EnvoyFilter or DestinationRule", any0},
	{"envoy_cluster_manager_cds_update_failure", "times that clusters could not be asked for", "the network to the xDS server; control_plane.connected_state", any0},
	{"envoy_cluster_manager_cds_init_fetch_timeout", "no clusters came within initial_fetch_timeout (15 s by default): the start went on without", "the xDS server; control_plane.connected_state", any0},
	{"envoy_cluster_manager_warming_clusters", "clusters that wait for endpoints (EDS) or secrets (SDS)", "/clusters, /config_dump?resource=dynamic_warming_clusters: which; whether the xDS server answers EDS and SDS", notZero},
	{"envoy_listener_manager_lds_update_rejected", "answers with listeners that Envoy refused", "/config_dump: error_state of dynamic listeners; Envoy's log has the reason (`loglevel POD config=debug`); the last EnvoyFilter or Gateway", any0},
	{"envoy_listener_manager_lds_update_failure", "times that listeners could not be asked for", "the network to the xDS server; control_plane.connected_state", any0},
	{"envoy_listener_manager_lds_init_fetch_timeout", "no listeners came within initial_fetch_timeout (15 s by default): the start went on without", "the xDS server; control_plane.connected_state", any0},
	{"envoy_listener_manager_listener_create_failure", "listeners that could not be made on a worker, as when the port is taken or not allowed", "Envoy's log (cannot bind, Permission denied); `ss -ltnp` in the pod; ports below 1024 without CAP_NET_BIND_SERVICE", any0},
	{"envoy_listener_manager_total_listeners_warming", "listeners that wait for routes (RDS), secrets (SDS) or filters (ECDS)", "/init_dump, /config_dump?resource=dynamic_listeners: which are in warming_state, and for what", notZero},
	{"envoy_listener_manager_total_listeners_active", "listeners that serve", "/listeners; LDS above", never},
	{"envoy_cluster_update_rejected", "answers with endpoints that Envoy refused", "/config_dump?include_eds; Envoy's log", any0},
	{"envoy_cluster_init_fetch_timeout", "no endpoints came within initial_fetch_timeout", "the Service's endpoints; the xDS server", any0},
	{"envoy_cluster_upstream_cx_connect_fail", "connections to hosts that could not be made", "/clusters: which host; NetworkPolicy, mTLS; the access log's UF (`kubectl envoyshim accesslog`)", any0},
	{"envoy_cluster_ssl_fail_verify_*", "certificates of hosts that were refused", "/certs; the trust bundle, the SANs that the cluster wants (DestinationRule)", any0},
	{"envoy_http_rds_update_rejected", "answers with routes that Envoy refused", "/config_dump: error_state of dynamic route configurations; Envoy's log", any0},
	{"envoy_http_rds_init_fetch_timeout", "no routes came within initial_fetch_timeout", "the xDS server; the name of the route configuration", any0},
	{"envoy_sds_*_update_rejected", "secrets that Envoy refused", "/certs, Envoy's log; SDS of pilot-agent", any0},
	{"envoy_*extension_config_missing", "connections closed, or requests failed, for a filter whose configuration (ECDS) has not come", "/config_dump?resource=ecds_filters; the xDS server", any0},
	{"envoy_listener_ssl_fail_verify_*", "certificates of clients that were refused", "/certs; PeerAuthentication, the clients' certificates", any0},
	{"envoy_listener_downstream_cx_overload_reject", "connections refused by the overload manager", "overload.*.pressure in /stats; memory limits", any0},
	{"envoy_server_main_thread_watchdog_mega_miss", "times that the main thread stood still for a second and more: a debugger, or no CPU", "CPU limits (throttling); `kubectl envoyshim profile POD`", any0},
	{"envoy_server_envoy_bug_failures", "conditions that should never be, in Envoy's own code", "Envoy's log: envoy bug failure", any0},
	{"istio_agent_startup_duration_seconds", "how long pilot-agent took until Envoy was ready", "`kubectl envoyshim timeline POD`", never},
}

var expressions = func() []*regexp.Regexp {
	var all []*regexp.Regexp
	for _, m := range Meanings {
		all = append(all, regexp.MustCompile(`^`+strings.ReplaceAll(regexp.QuoteMeta(m.Name), `\*`, `.*`)+`$`))
	}
	return all
}()

func meaningOf(name string) *Meaning {
	for i, e := range expressions {
		if e.MatchString(name) {
			return &Meanings[i]
		}
	}
	return nil
}

// A Finding is a metric that tells something of the start.
type Finding struct {
	Meaning
	Wrong  bool   `json:"wrong"`
	Series string `json:"series"` // with its labels
	Value  Value  `json:"value"`
}

// Judge explains what a scrape says of the start: first what is wrong. What is as it should be is told of series without labels only.
func Judge(s Scrape) []Finding {
	live := s.State() == States[0]
	all := []Finding{}
	for key, one := range s.Series {
		m := meaningOf(one.Name)
		if m == nil {
			continue
		}
		if f := (Finding{*m, m.wrong(one.Value, live), key, one.Value}); f.Wrong || len(one.Labels) == 0 {
			all = append(all, f)
		}
	}
	place := func(f Finding) int {
		return slices.IndexFunc(Meanings, func(m Meaning) bool { return m.Name == f.Name })
	}
	slices.SortFunc(all, func(a, b Finding) int {
		switch {
		case a.Wrong != b.Wrong && a.Wrong:
			return -1
		case a.Wrong != b.Wrong:
			return 1
		case place(a) != place(b):
			return place(a) - place(b)
		}
		return strings.Compare(a.Series, b.Series)
	})
	return all
}
