package client

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// configDump is envoy.admin.v3.ConfigDump. Each element is one of several messages, whose fields have different names.
type configDump struct {
	Configs []struct {
		WarmingClusters []entry    `json:"dynamic_warming_clusters"`
		ActiveClusters  []entry    `json:"dynamic_active_clusters"`
		Listeners       []listener `json:"dynamic_listeners"`
		Routes          []entry    `json:"dynamic_route_configs"`
		ScopedRoutes    []entry    `json:"dynamic_scoped_route_configs"`
		Endpoints       []entry    `json:"dynamic_endpoint_configs"`
		ActiveSecrets   []entry    `json:"dynamic_active_secrets"`
		WarmingSecrets  []entry    `json:"dynamic_warming_secrets"`
		Extensions      []entry    `json:"ecds_filters"`
	} `json:"configs"`
}

// An entry is a resource.
type entry struct {
	Version string      `json:"version_info"`
	Updated *time.Time  `json:"last_updated"`
	Error   *errorState `json:"error_state"`

	Name      string `json:"name"` // or that of one of these
	Cluster   named  `json:"cluster"`
	Route     named  `json:"route_config"`
	Extension named  `json:"ecds_filter"`
	Endpoint  named  `json:"endpoint_config"`
}

type named struct {
	Name        string `json:"name"`
	ClusterName string `json:"cluster_name"`
}

func (e entry) name() string {
	for _, name := range []string{e.Name, e.Cluster.Name, e.Route.Name, e.Extension.Name, e.Endpoint.ClusterName} {
		if name != "" {
			return name
		}
	}
	return ""
}

// listener is envoy.admin.v3.ListenersConfigDump.DynamicListener.
type listener struct {
	Name     string      `json:"name"`
	Active   *entry      `json:"active_state"`
	Warming  *entry      `json:"warming_state"`
	Draining *entry      `json:"draining_state"`
	Error    *errorState `json:"error_state"`
}

// A listenerState is one of a listener's.
type listenerState struct {
	status admin.Status
	entry  *entry
}

func (l listener) states() []listenerState {
	all := []listenerState{{admin.Accepted, l.Active}, {admin.Warming, l.Warming}, {admin.Drained, l.Draining}}
	return slices.DeleteFunc(all, func(s listenerState) bool { return s.entry == nil })
}

// errorState is envoy.admin.v3.UpdateFailureState.
type errorState struct {
	Failed  named      `json:"failed_configuration"`
	Time    *time.Time `json:"last_update_attempt"`
	Details string     `json:"details"`
	Version string     `json:"version_info"`
}

func (e *errorState) rejection() *admin.Rejection {
	if e == nil {
		return nil
	}
	return &admin.Rejection{Version: e.Version, Time: e.Time, Details: debugMark.ReplaceAllString(e.Details, "")}
}

// debugMark is what protobuf's text of a message for people begins with, at random.
var debugMark = regexp.MustCompile(`goo\.gle/debug\w+\s*`)

func (d *configDump) reduce(s *admin.Snapshot) {
	add := func(short string, status admin.Status, entries ...entry) {
		for _, e := range entries {
			r := admin.Resource{
				Type: short, TypeURL: admin.TypeURLs[short], Name: e.name(), Version: e.Version, Updated: e.Updated, Status: status, Rejection: e.Error.rejection(),
			}
			if e.Error != nil && e.Updated == nil {
				r.Status = admin.Rejected
			}
			if r.Name == "" && e.Error != nil {
				// Envoy tells of a rejected listener twice, the second time without its name.
				r.Name = e.Error.Failed.Name
				if slices.ContainsFunc(s.XDS, func(o admin.Resource) bool { return o.Type == r.Type && o.Name == r.Name && o.Rejection != nil }) {
					continue
				}
			}
			s.XDS = append(s.XDS, r)
		}
	}
	for _, c := range d.Configs {
		add("CDS", admin.Warming, c.WarmingClusters...)
		add("CDS", admin.Accepted, c.ActiveClusters...)
		slices.SortStableFunc(c.Listeners, func(a, b listener) int { return strings.Compare(b.Name, a.Name) }) // those without a name last
		for _, l := range c.Listeners {
			states := l.states()
			if len(states) == 0 {
				add("LDS", admin.Rejected, entry{Name: l.Name, Error: l.Error})
			}
			for i, st := range states { // there may be two: one in use, and a newer one that is warming
				e := *st.entry
				e.Name = l.Name
				if i == 0 {
					e.Error = l.Error
				}
				add("LDS", st.status, e)
			}
		}
		add("RDS", admin.Accepted, c.Routes...)
		add("SRDS", admin.Accepted, c.ScopedRoutes...)
		add("EDS", admin.Accepted, c.Endpoints...)
		add("SDS", admin.Accepted, c.ActiveSecrets...)
		add("SDS", admin.Warming, c.WarmingSecrets...)
		add("ECDS", admin.Accepted, c.Extensions...)
	}
	slices.SortStableFunc(s.XDS, func(a, b admin.Resource) int { return strings.Compare(a.Type+" "+a.Name, b.Type+" "+b.Name) })
	endpointVersions(s)
}

// endpointVersions takes what the dump does not tell of endpoints from their subscriptions. The name of a stat has _ for :.
func endpointVersions(s *admin.Snapshot) {
	for i := range s.XDS {
		r := &s.XDS[i]
		for _, sub := range s.Subscriptions {
			if r.Type == "EDS" && sub.Type == "EDS" && sub.Name == strings.ReplaceAll(r.Name, ":", "_") {
				r.Version, r.Updated = sub.Version, sub.Updated
			}
		}
	}
}
