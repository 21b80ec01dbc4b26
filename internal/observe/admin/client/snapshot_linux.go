package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// snapshot asks for all, or with all unset for what costs Envoy little. The error is why nothing was told; of a part it is in the snapshot.
func (p *port) snapshot(ctx context.Context, all bool) (*admin.Snapshot, error) {
	s := &admin.Snapshot{
		Time: time.Now(), Address: p.address,
		Listeners: []admin.Listener{}, Subscriptions: []admin.Subscription{}, XDS: []admin.Resource{},
	}
	var err error
	if all {
		err = p.decode(ctx, "/server_info", (&serverInfo{}), func(v any) { v.(*serverInfo).reduce(s) })
	} else {
		s.State, err = p.ready(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.Reachable = true
	err = p.decode(ctx, "/listeners?format=json", &listeners{}, func(v any) { v.(*listeners).reduce(s) })
	err = errors.Join(err, p.decode(ctx, "/stats?format=json&filter="+url.QueryEscape(statsFilter), &stats{}, func(v any) { v.(*stats).reduce(s) }))
	if all {
		err = errors.Join(err, p.decode(ctx, "/config_dump?include_eds", &configDump{}, func(v any) { v.(*configDump).reduce(s) }))
	}
	if err != nil {
		s.Error = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return s, nil
}

// decode asks for a JSON document.
func (p *port) decode(ctx context.Context, path string, into any, done func(any)) error {
	return p.ask(ctx, http.MethodGet, path, func(status int, body io.Reader) error {
		if status != http.StatusOK {
			return statusError(status)
		}
		if err := json.NewDecoder(body).Decode(into); err != nil {
			return err
		}
		done(into)
		return nil
	})
}

// A statusError is a status of HTTP where 200 was expected.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("status %d", int(e)) }

// serverInfo is envoy.admin.v3.ServerInfo.
type serverInfo struct {
	Version    string `json:"version"`
	State      string `json:"state"`
	Uptime     string `json:"uptime_current_epoch"`
	HotRestart string `json:"hot_restart_version"`
	Options    *struct {
		Epoch     int    `json:"restart_epoch"`
		LogLevel  string `json:"log_level"`
		FineGrain bool   `json:"enable_fine_grain_logging"`
	} `json:"command_line_options"`
	Node struct {
		ID string `json:"id"`
	} `json:"node"`
}

func (i *serverInfo) reduce(s *admin.Snapshot) {
	s.State, s.Build, s.HotRestart, s.Node = admin.State(i.State), i.Version, i.HotRestart, i.Node.ID
	if parts := strings.Split(i.Version, "/"); len(parts) > 1 {
		s.Version = parts[1]
	}
	s.Uptime, _ = time.ParseDuration(i.Uptime)
	if i.Options != nil {
		s.Epoch, s.LogLevel, s.FineGrain = i.Options.Epoch, i.Options.LogLevel, i.Options.FineGrain
	}
}

// address is envoy.config.core.v3.Address.
type address struct {
	Socket *struct {
		Address string `json:"address"`
		Port    int    `json:"port_value"`
	} `json:"socket_address"`
	Pipe *struct {
		Path string `json:"path"`
	} `json:"pipe"`
	Internal *struct {
		Name string `json:"server_listener_name"`
	} `json:"envoy_internal_address"`
}

func (a address) String() string {
	switch {
	case a.Socket != nil:
		return net.JoinHostPort(a.Socket.Address, strconv.Itoa(a.Socket.Port))
	case a.Pipe != nil:
		return a.Pipe.Path
	case a.Internal != nil:
		return "envoy://" + a.Internal.Name
	}
	return ""
}

// listeners is envoy.admin.v3.Listeners.
type listeners struct {
	Statuses []struct {
		Name       string    `json:"name"`
		Address    address   `json:"local_address"`
		Additional []address `json:"additional_local_addresses"`
	} `json:"listener_statuses"`
}

func (l *listeners) reduce(s *admin.Snapshot) {
	for _, st := range l.Statuses {
		listener := admin.Listener{Name: st.Name, Addresses: []string{st.Address.String()}}
		for _, a := range st.Additional {
			listener.Addresses = append(listener.Addresses, a.String())
		}
		s.Listeners = append(s.Listeners, listener)
	}
}

// statsFilter selects what reduce reads.
const statsFilter = `^(listener_manager\.(workers_started|total_listeners_warming)|cluster_manager\.warming_clusters|server\.initialization_time_ms)$` +
	`|control_plane\.(identifier|connected_state)$|\.(update_(attempt|success|rejected|failure|time)|version_text|init_fetch_timeout)$`

// stats is the form of /stats?format=json: counters and gauges as numbers, text readouts as strings, and in one element all histograms.
type stats struct {
	Stats []struct {
		Name       string          `json:"name"`
		Value      json.RawMessage `json:"value"`
		Histograms *struct {
			Computed []struct {
				Name   string `json:"name"`
				Values []struct {
					Cumulative *float64 `json:"cumulative"`
				} `json:"values"`
			} `json:"computed_quantiles"`
		} `json:"histograms"`
	} `json:"stats"`
}

func (st *stats) reduce(s *admin.Snapshot) {
	numbers, texts := map[string]uint64{}, map[string]string{}
	for _, one := range st.Stats {
		var text string
		var number uint64
		switch {
		case one.Histograms != nil:
			for _, h := range one.Histograms.Computed {
				if h.Name == "server.initialization_time_ms" && len(h.Values) > 0 && h.Values[0].Cumulative != nil {
					s.Initialization = time.Duration(*h.Values[0].Cumulative * float64(time.Millisecond))
				}
			}
		case json.Unmarshal(one.Value, &text) == nil:
			texts[one.Name] = text
		case json.Unmarshal(one.Value, &number) == nil:
			numbers[one.Name] = number
		}
	}
	s.Workers = numbers["listener_manager.workers_started"] == 1
	s.WarmingListeners = int(numbers["listener_manager.total_listeners_warming"])
	s.WarmingClusters = int(numbers["cluster_manager.warming_clusters"])
	s.ControlPlane = texts["control_plane.identifier"]
	s.Connected = numbers["control_plane.connected_state"] == 1
	for name, version := range texts {
		prefix, ok := strings.CutSuffix(name, ".version_text")
		if !ok {
			continue
		}
		sub := subscription(prefix)
		sub.Version = version
		if ms := numbers[prefix+".update_time"]; ms != 0 {
			at := time.UnixMilli(int64(ms)).UTC()
			sub.Updated = &at
		}
		sub.Attempt, sub.Success = numbers[prefix+".update_attempt"], numbers[prefix+".update_success"]
		sub.Rejected, sub.Failure = numbers[prefix+".update_rejected"], numbers[prefix+".update_failure"]
		sub.Timeout = numbers[prefix+".init_fetch_timeout"]
		sub.ControlPlane = texts[prefix+".control_plane.identifier"]
		sub.Connected = numbers[prefix+".control_plane.connected_state"] == 1
		s.Subscriptions = append(s.Subscriptions, sub)
	}
	slices.SortFunc(s.Subscriptions, func(a, b admin.Subscription) int {
		return strings.Compare(a.Type+" "+a.Name, b.Type+" "+b.Name)
	})
	for _, sub := range s.Subscriptions {
		if s.ControlPlane == "" {
			s.ControlPlane = sub.ControlPlane
		}
		s.Connected = s.Connected || sub.Connected
	}
}

// scopes are the prefixes of the stats of subscriptions.
var scopes = []struct {
	short string
	scope *regexp.Regexp
}{
	{"CDS", regexp.MustCompile(`^cluster_manager\.cds()$`)},
	{"LDS", regexp.MustCompile(`^listener_manager\.lds()$`)},
	{"RTDS", regexp.MustCompile(`^runtime\.(.*)$`)},
	{"RDS", regexp.MustCompile(`\.rds\.(.*)$`)},
	{"SRDS", regexp.MustCompile(`\.scoped_rds\.(.*)$`)},
	{"VHDS", regexp.MustCompile(`\.vhds\.(.*)$`)},
	{"SDS", regexp.MustCompile(`(?:^|\.)sds\.(.*)$`)},
	{"ECDS", regexp.MustCompile(`(?:^|\.)extension_config_discovery\.(.*)$`)},
	{"EDS", regexp.MustCompile(`^cluster\.(.*)$`)},
}

func subscription(prefix string) admin.Subscription {
	for _, s := range scopes {
		if m := s.scope.FindStringSubmatch(prefix); m != nil {
			return admin.Subscription{Type: s.short, Name: m[1]}
		}
	}
	return admin.Subscription{Name: prefix}
}
