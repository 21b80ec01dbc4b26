// Package admin is what Envoy's admin port tells of a start, and the words for its loggers. HTTP is the work of the program that is carried
// inside (package carried), for bin/envoyshim links no net/http:
//
//	Snapshot       admin.go          what is told at one moment
//	Levels         logging.go        the loggers
//	XDSLine        xdslog.go         what Envoy's own log tells of xDS: each response, and nonces, which the admin port does not
//	Client         client_linux.go   asks, by a child process
//	Request, Reply wire.go           how the two talk
//	package client client            the child's side, with net/http; it also finds the admin port of a process
//
// The endpoints: https://www.envoyproxy.io/docs/envoy/latest/operations/admin. What is tried is said to be of Envoy 1.37 or 1.40.
package admin

import "time"

// A Snapshot is what an Envoy tells of itself at one moment.
type Snapshot struct {
	Time      time.Time `json:"time"`              // when it was asked
	Address   string    `json:"address,omitempty"` // HOST:PORT, or the path of a Unix socket, "@" first when it is abstract
	Reachable bool      `json:"reachable"`         // it answered
	Error     string    `json:"error,omitempty"`   // why it, or a part of it, was not told

	State      State         `json:"state,omitempty"`       // /server_info
	Version    string        `json:"version,omitempty"`     // as 1.40.0
	Build      string        `json:"build,omitempty"`       // as COMMIT/1.40.0/Clean/RELEASE/BoringSSL
	Uptime     time.Duration `json:"uptime_ns,omitempty"`   // of this hot restart epoch, in whole seconds
	HotRestart string        `json:"hot_restart,omitempty"` // the version of its protocol, or "disabled"
	Epoch      int           `json:"epoch,omitempty"`       // of hot restart
	LogLevel   string        `json:"log_level,omitempty"`   // that it was started with
	FineGrain  bool          `json:"fine_grain,omitempty"`  // it was started with --enable-fine-grain-logging
	Node       string        `json:"node,omitempty"`        // its id

	Listeners        []Listener     `json:"listeners"`                   // /listeners: those that are active; they are bound, and accept once Workers
	Workers          bool           `json:"workers_started"`             // /stats: listener_manager.workers_started
	Initialization   time.Duration  `json:"initialization_ns,omitempty"` // server.initialization_time_ms; 0 until stats are flushed, every 5 s by default
	WarmingListeners int            `json:"warming_listeners,omitempty"` // listener_manager.total_listeners_warming; none before Workers, when all wait together
	WarmingClusters  int            `json:"warming_clusters,omitempty"`  // cluster_manager.warming_clusters
	ControlPlane     string         `json:"control_plane,omitempty"`     // control_plane.identifier, of ADS or of the first subscription that has one
	Connected        bool           `json:"connected,omitempty"`         // control_plane.connected_state: a stream to it is open
	Subscriptions    []Subscription `json:"subscriptions"`               // /stats
	XDS              []Resource     `json:"xds"`                         // /config_dump?include_eds
}

// State is a server's.
type State string

// The states (envoy.admin.v3.ServerInfo.State).
const (
	PreInitializing State = "PRE_INITIALIZING" // waits for its clusters
	Initializing    State = "INITIALIZING"     // waits for what listeners need
	Live            State = "LIVE"
	Draining        State = "DRAINING"
)

// A Listener accepts connections.
type Listener struct {
	Name      string   `json:"name"`
	Addresses []string `json:"addresses"` // HOST:PORT or a path; behind the first one the additional ones
}

// A Subscription is one use of a discovery service: CDS and LDS once, RDS for each route configuration, EDS for each cluster, SDS for each secret.
// Those are there that have a stat version_text; Istio's stats_config leaves most of EDS out.
type Subscription struct {
	Type         string     `json:"type"`                    // CDS, LDS, RDS, SRDS, VHDS, EDS, SDS, ECDS, RTDS; "" when it is another
	Name         string     `json:"name,omitempty"`          // of the route configuration, the cluster, the secret, as the stat has it: with _ for :, or its alt_stat_name
	Version      string     `json:"version,omitempty"`       // version_text: that was accepted last
	Updated      *time.Time `json:"updated,omitempty"`       // update_time: when, to the millisecond
	Attempt      uint64     `json:"attempt"`                 // update_attempt: requests, and responses that were rejected
	Success      uint64     `json:"success"`                 // update_success
	Rejected     uint64     `json:"rejected"`                // update_rejected
	Failure      uint64     `json:"failure"`                 // update_failure: the control plane could not be reached
	Timeout      uint64     `json:"timeout"`                 // init_fetch_timeout: the first answer took too long, and was waited for no more
	ControlPlane string     `json:"control_plane,omitempty"` // without ADS: of its own stream
	Connected    bool       `json:"connected,omitempty"`     // likewise
}

// Status says what became of a [Resource].
type Status string

// The statuses.
const (
	Accepted Status = "accepted" // in use
	Warming  Status = "warming"  // accepted, and waits for others
	Drained  Status = "draining" // not in use any more
	Rejected Status = "rejected" // never was in use
)

// A Resource came by xDS. It is both in use and rejected when a newer version of it was.
type Resource struct {
	Type      string     `json:"type"`     // CDS, LDS, RDS, SRDS, EDS, SDS, ECDS
	TypeURL   string     `json:"type_url"` // as type.googleapis.com/envoy.config.listener.v3.Listener
	Name      string     `json:"name"`
	Version   string     `json:"version,omitempty"` // version_info; in delta its own; of EDS, which has none in the dump: of its Subscription
	Updated   *time.Time `json:"updated,omitempty"` // last_updated; of EDS likewise
	Status    Status     `json:"status"`
	Rejection *Rejection `json:"rejection,omitempty"` // error_state
}

// A Rejection is of the newest version, when it was not accepted. Envoy 1.40 tells of listeners and clusters only.
type Rejection struct {
	Version string     `json:"version,omitempty"` // not of LDS
	Time    *time.Time `json:"time,omitempty"`    // last_update_attempt
	Details string     `json:"details"`
}
