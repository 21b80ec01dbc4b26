// Package admin is what Envoy's admin port tells of a start, and the words for its loggers. HTTP is the work of the program that is carried
// inside (package carried), for bin/envoyshim links no net/http:
//
//	Snapshot       admin.go          what is told at one moment
//	Logging        logging.go        the levels of the loggers
//	Client         client_linux.go   asks, by a child process
//	Find           find_linux.go     the admin port of a process
//	Wait           wait_linux.go     until it is LIVE
//	package client client            the child's side, with net/http
//
// What is from where (https://www.envoyproxy.io/docs/envoy/latest/operations/admin): see the fields. No endpoint tells nonces. Envoy writes them in
// its log, at level trace of the logger config, or of source/extensions/config_subscription/grpc/* with the fine-grain logger: package timeline
// may read them there.
package admin

import "time"

// A Snapshot is what an Envoy tells of itself at one moment.
type Snapshot struct {
	Time      time.Time `json:"time"`            // when it was asked
	Address   string    `json:"address"`         // HOST:PORT, or the path of a Unix socket, "@" first when it is abstract
	Reachable bool      `json:"reachable"`       // it answered /server_info
	Error     string    `json:"error,omitempty"` // why something was not told

	State      State         `json:"state,omitempty"`       // /server_info
	Version    string        `json:"version,omitempty"`     // as 1.40.0
	Build      string        `json:"build,omitempty"`       // as COMMIT/1.40.0/Clean/RELEASE/BoringSSL
	Uptime     time.Duration `json:"uptime_ns,omitempty"`   // of this hot restart epoch, in whole seconds
	HotRestart string        `json:"hot_restart,omitempty"` // the version of hot restart, or "disabled"
	Epoch      int           `json:"epoch,omitempty"`       // of hot restart
	LogLevel   string        `json:"log_level,omitempty"`   // that it was started with
	FineGrain  bool          `json:"fine_grain,omitempty"`  // it was started with --enable-fine-grain-logging
	Node       string        `json:"node,omitempty"`        // its id

	Listeners        []Listener     `json:"listeners"`                   // /listeners: those that are bound
	Workers          bool           `json:"workers_started"`             // /stats: listener_manager.workers_started
	Initialization   time.Duration  `json:"initialization_ns,omitempty"` // server.initialization_time_ms; 0 until the stats are flushed, every 5 s by default
	WarmingListeners int            `json:"warming_listeners,omitempty"` // listener_manager.total_listeners_warming
	WarmingClusters  int            `json:"warming_clusters,omitempty"`  // cluster_manager.warming_clusters
	ControlPlane     string         `json:"control_plane,omitempty"`     // control_plane.identifier
	Connected        bool           `json:"connected,omitempty"`         // control_plane.connected_state: a stream to it is open
	Subscriptions    []Subscription `json:"subscriptions"`               // the counters of each, from /stats
	XDS              []Resource     `json:"xds"`                         // /config_dump?include_eds
}

// State is a server's.
type State string

// The states (envoy.admin.v3.ServerInfo.State).
const (
	PreInitializing State = "PRE_INITIALIZING" // waits for clusters of the bootstrap
	Initializing    State = "INITIALIZING"     // waits for listeners, or for xDS
	Live            State = "LIVE"
	Draining        State = "DRAINING"
)

// A Listener accepts connections.
type Listener struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // HOST:PORT or a path; the first is its own, the others are additional ones
}

// A Subscription is one use of a discovery service: CDS and LDS once, RDS for each route configuration, EDS for each cluster, SDS for each secret.
type Subscription struct {
	Type     string     `json:"type"`           // CDS, LDS, RDS, EDS, SDS, ...
	Name     string     `json:"name,omitempty"` // of the route configuration, the cluster, the secret
	Version  string     `json:"version"`        // that was accepted last; version_text
	Updated  *time.Time `json:"updated"`        // when; update_time
	Attempt  uint64     `json:"attempt"`        // update_attempt
	Success  uint64     `json:"success"`        // update_success
	Rejected uint64     `json:"rejected"`       // update_rejected
	Failure  uint64     `json:"failure"`        // update_failure: the control plane could not be reached
	Timeout  uint64     `json:"timeout"`        // init_fetch_timeout: gave up waiting for a first answer
}

// Status says what became of a [Resource].
type Status string

// The statuses.
const (
	Accepted Status = "ACKED"   // in use
	Warming  Status = "WARMING" // accepted, and waits for others
	Rejected Status = "NACKED"  // the newest is not in use; an earlier one may be
	Drained  Status = "DRAINING"
)

// A Resource came by xDS.
type Resource struct {
	Type     string     `json:"type"`     // CDS, LDS, RDS, SRDS, EDS, SDS, ECDS
	TypeURL  string     `json:"type_url"` // as type.googleapis.com/envoy.config.listener.v3.Listener
	Name     string     `json:"name"`
	Version  string     `json:"version,omitempty"` // version_info of what is in use, or is warming
	Updated  *time.Time `json:"updated,omitempty"` // last_updated of that
	Status   Status     `json:"status"`
	Rejected *Rejection `json:"rejected,omitempty"` // the newest that was, error_state
}

// A Rejection is a version that was not accepted.
type Rejection struct {
	Version string     `json:"version,omitempty"`
	Time    *time.Time `json:"time,omitempty"` // last_update_attempt
	Details string     `json:"details"`
}
