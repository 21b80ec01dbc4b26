package accesslog

// Fault says on whose side a failure lies.
type Fault string

// The sides, as seen from the proxy that wrote the line.
const (
	Downstream    Fault = "downstream"    // the client, or what is between it and this proxy
	Upstream      Fault = "upstream"      // the host that the request was for
	Network       Fault = "network"       // between this proxy and the upstream host, DNS among it
	Configuration Fault = "configuration" // what this proxy was told, by xDS or its bootstrap
	Limit         Fault = "limit"         // a limit that this proxy was given
	Deliberate    Fault = "deliberate"    // it was to be so: an injected fault, a denied request, a cached response
)

// A Flag is one of Envoy's response flags.
type Flag struct {
	Short   string `json:"short"` // in %RESPONSE_FLAGS%
	Long    string `json:"long"`  // in %RESPONSE_FLAGS_LONG%
	Fault   Fault  `json:"fault,omitempty"`
	Status  string `json:"status,omitempty"` // that usually comes with it: 503; "" for none of its own
	Meaning string `json:"meaning"`
	Look    string `json:"look_at"` // statistics, the paths of the admin port, configuration
}

// Failed says whether a request with the flag has failed: it may as well have been delayed on purpose, or answered by a cache.
func (f Flag) Failed() bool { return f.Short != "DI" && f.Short != "RFCF" }

// Flags are the response flags of Envoy 1.40, in the order of its source (StreamInfo::CoreResponseFlag): those that a response_flag_filter
// takes there.
var Flags = []Flag{
	{"LH", "FailedLocalHealthCheck", Upstream, "503", "this Envoy was failed by its own health check filter, and refuses requests",
		"/healthcheck/ok on the admin port undoes /healthcheck/fail; http.*.health_check.*; whether the proxy is being drained"},
	{"UH", "NoHealthyUpstream", Upstream, "503", "no host of the cluster is healthy, or it has none at all",
		"/clusters: health_flags of each host, or no host; cluster.NAME.membership_total, membership_healthy, lb_healthy_panic; EDS (update_rejected, the Service's endpoints), outlier detection, the subset's labels"},
	{"UT", "UpstreamRequestTimeout", Upstream, "504", "the host did not answer within the route's time",
		"cluster.NAME.upstream_rq_timeout, upstream_rq_per_try_timeout, upstream_rq_time; the route's timeout (Istio: VirtualService timeout), x-envoy-upstream-rq-timeout-ms; why the host is slow"},
	{"LR", "LocalReset", Limit, "503", "this proxy itself reset the stream to the host",
		"RESPONSE_CODE_DETAILS; cluster.NAME.upstream_rq_tx_reset; limits of the codec (http2_protocol_options), of buffers and of header sizes"},
	{"UR", "UpstreamRemoteReset", Upstream, "503", "the host reset the stream (HTTP/2 RST_STREAM, or the like)",
		"cluster.NAME.upstream_rq_rx_reset; the log of the host at that time; whether it takes the protocol that it is spoken to in (h2c or HTTP/1.1)"},
	{"UF", "UpstreamConnectionFailure", Network, "503", "no connection to the host could be made: refused, timed out, or TLS failed",
		"UPSTREAM_TRANSPORT_FAILURE_REASON says which; cluster.NAME.upstream_cx_connect_fail, upstream_cx_connect_timeout, ssl.connection_error, ssl.fail_verify_*; whether the host listens on that port, a NetworkPolicy, mTLS on both sides (DestinationRule, PeerAuthentication)"},
	{"UC", "UpstreamConnectionTermination", Upstream, "503", "the host closed the connection while a request was under way",
		"cluster.NAME.upstream_cx_destroy_remote_with_active_rq; an idle timeout of the host that is shorter than the cluster's (idle_timeout), restarts of the host; a retry on reset-before-request, connect-failure hides it"},
	{"UO", "UpstreamOverflow", Limit, "503", "a circuit breaker of the cluster was open",
		"cluster.NAME.upstream_rq_pending_overflow, upstream_cx_overflow, circuit_breakers.*; circuit_breakers of the cluster (Istio: DestinationRule connectionPool)"},
	{"NR", "NoRouteFound", Configuration, "404", "no route is for this request, or no filter chain for this connection",
		"/config_dump?resource=dynamic_route_configs: the virtual hosts' domains against the authority, the routes' matches against the path; http.*.rs_too_large, no_route; listener.*.no_filter_chain_match (SNI, ALPN, address)"},
	{"DI", "DelayInjected", Deliberate, "", "a fault filter delayed the request", "http.*.fault.delays_injected; the fault filter (Istio: VirtualService fault.delay)"},
	{"FI", "FaultInjected", Deliberate, "as the filter says", "a fault filter aborted the request", "http.*.fault.aborts_injected; the fault filter (Istio: VirtualService fault.abort)"},
	{"RL", "RateLimited", Limit, "429", "a rate limit was reached",
		"http_local_rate_limit.*.rate_limited, cluster.*.ratelimit.over_limit; the rate limit filter's tokens, or the rate limit service's rules"},
	{"UAEX", "UnauthorizedExternalService", Deliberate, "403", "the external authorization service denied the request, or could not be asked",
		"ext_authz.denied, ext_authz.error, ext_authz.failure_mode_allowed; the service's own log; RESPONSE_CODE_DETAILS"},
	{"RLSE", "RateLimitServiceError", Network, "500", "the rate limit service could not be asked, and failure_mode_deny is set",
		"cluster.*.ratelimit.error; the cluster of the rate limit service in /clusters"},
	{"DC", "DownstreamConnectionTermination", Downstream, "0", "the client closed the connection before it had its response",
		"http.*.downstream_cx_destroy_remote_active_rq; how long it took (DURATION) against the client's timeout; load balancers before this proxy"},
	{"URX", "UpstreamRetryLimitExceeded", Upstream, "503", "all tries that the retry policy, or max_connect_attempts, allows have failed",
		"the flag beside it says how the last try failed; cluster.NAME.upstream_rq_retry_limit_exceeded, upstream_rq_retry_overflow; UPSTREAM_REQUEST_ATTEMPT_COUNT"},
	{"SI", "StreamIdleTimeout", Downstream, "408 or 504", "nothing moved on the stream for stream_idle_timeout",
		"http.*.downstream_rq_idle_timeout; stream_idle_timeout of the connection manager (5 minutes by default) or the route; a client that does not send its body, an upstream stream that is silent"},
	{"IH", "InvalidEnvoyRequestHeaders", Downstream, "400", "a header x-envoy-* of the request is not as strict_check_headers wants it",
		"the request's x-envoy-* headers; strict_check_headers of the router"},
	{"DPE", "DownstreamProtocolError", Downstream, "400", "the client does not speak HTTP as the listener expects it",
		"RESPONSE_CODE_DETAILS (http1.*, http2.*); http.*.downstream_cx_protocol_error, http1.*, http2.* codec statistics; TLS or another protocol sent to a plain HTTP port"},
	{"UMSDR", "UpstreamMaxStreamDurationReached", Limit, "408 or 504", "the stream lasted longer than max_stream_duration",
		"cluster.NAME.upstream_rq_max_duration_reached, http.*.downstream_rq_max_duration_reached; max_stream_duration of the cluster, route or connection manager, grpc-timeout"},
	{"RFCF", "ResponseFromCacheFilter", Deliberate, "", "the cache filter answered", "the cache filter; cache-control of the responses"},
	{"NFCF", "NoFilterConfigFound", Configuration, "500", "a filter's configuration (ECDS) has not come",
		"extension_config_discovery.*.config_fail, update_rejected; /config_dump?resource=ecds_filters; whether the control plane knows the resource"},
	{"DT", "DurationTimeout", Limit, "408 or none", "the connection lasted longer than max_connection_duration, or max_downstream_connection_duration",
		"http.*.downstream_cx_max_duration_reached, tcp.*.max_downstream_connection_duration; max_connection_duration"},
	{"UPE", "UpstreamProtocolError", Upstream, "502", "the host does not answer in the protocol that the cluster is configured for",
		"cluster.NAME.upstream_cx_protocol_error, http1.*, http2.* codec statistics; the port's name or appProtocol (Istio), http2_protocol_options, TLS on the host's port"},
	{"NC", "NoClusterFound", Configuration, "503", "the route leads to a cluster that is not there",
		"/config_dump?resource=dynamic_active_clusters: is it missing, or still warming (dynamic_warming_clusters)?; cluster_manager.cds.update_rejected; in Istio a host or a subset that no Service or DestinationRule has"},
	{"OM", "OverloadManagerTerminated", Limit, "503", "the overload manager ended the request", "overload.*.active, overload.*.pressure, http.*.downstream_rq_overload_close; overload_manager of the bootstrap, memory limits of the container"},
	{"DF", "DnsResolutionFailed", Network, "503", "the host's name could not be resolved",
		"cluster.NAME.update_failure, dns.cares.*, dns_cache.*.dns_query_failure, dns_query_timeout; /clusters; resolv.conf of the pod, its DNS policy"},
	{"DO", "DropOverload", Limit, "503", "a share of the requests is dropped, as the endpoints' policy says",
		"cluster.NAME.upstream_rq_drop_overload; drop_overloads in the policy of the ClusterLoadAssignment (EDS), load_balancing.drop_overload_limit of the runtime"},
	{"DR", "DownstreamRemoteReset", Downstream, "0", "the client reset the stream (HTTP/2 RST_STREAM, or the like): it cancelled, or gave up",
		"http.*.downstream_rq_rx_reset; how long it took (DURATION) against the client's timeout"},
	{"UDO", "UnconditionalDropOverload", Limit, "503", "all requests are dropped, as the endpoints' policy says",
		"cluster.NAME.upstream_rq_drop_overload; drop_overloads of 100 % in the policy of the ClusterLoadAssignment (EDS)"},
}

var byName = func() map[string]*Flag {
	all := map[string]*Flag{}
	for i, f := range Flags {
		all[f.Short], all[f.Long] = &Flags[i], &Flags[i]
	}
	return all
}()

// FlagNamed finds a flag by its short or long name. One that is not Envoy's own is a custom flag, of an extension that has registered it.
func FlagNamed(name string) Flag {
	if f, ok := byName[name]; ok {
		return *f
	}
	return Flag{Short: name, Long: name, Meaning: "no flag of Envoy 1.40: of an extension (a custom response flag), or of another version",
		Look: "the documentation of the filters in the listener; RESPONSE_CODE_DETAILS"}
}
