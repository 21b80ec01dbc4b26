package telemetry

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// A Change is a series at two times.
type Change struct {
	Series
	First *Value `json:"first,omitempty"` // nil: it was not there
	Last  *Value `json:"last,omitempty"`  // nil: it is not there any more
}

// prefixes begin the metrics that tell of a start: Envoy's own, and Istio's, pilot-agent among them.
var prefixes = []string{"envoy_server_", "envoy_listener_", "envoy_cluster_", "envoy_control_plane_", "envoy_runtime_", "envoy_sds_", "istio_"}

// OfStart says whether a metric tells of a start.
func OfStart(name string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) }) || meaningOf(name) != nil
}

// unset is what Envoy says of days and seconds that it does not know yet, as of certificates where there are none.
const unset = math.MaxUint32

// isNoise is what moves by our looking, or with the time, or to nothing.
func isNoise(c Change) bool {
	return strings.HasPrefix(c.Name, "envoy_listener_admin_") || c.Name == "envoy_server_stats_recent_lookups" || strings.HasPrefix(c.Name, "envoy_server_memory_") ||
		strings.HasPrefix(c.Name, "istio_agent_go_") || strings.HasPrefix(c.Name, "istio_agent_process_") ||
		c.Last != nil && c.Last.Number == unset
}

// Compare tells what moved from one scrape to another, in the order of the names; with all, what stood still and what does not tell of a start, too.
func Compare(first, last Scrape, all bool) []Change {
	keys := slices.Collect(maps.Keys(last.Series))
	for key := range first.Series {
		if _, ok := last.Series[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	changes := []Change{}
	for _, key := range keys {
		a, before := first.Series[key]
		b, after := last.Series[key]
		c := Change{Series: b}
		if before {
			c.Series, c.First = a, &a.Value
		}
		if after {
			c.Series, c.Last = b, &b.Value
		}
		moved := before != after && !(before && a.Value.isZero() || after && b.Value.isZero()) || before && after && !a.Value.same(b.Value)
		if all || moved && OfStart(c.Name) && !isNoise(c) {
			changes = append(changes, c)
		}
	}
	return changes
}

// Values are the series of one scrape as Compare has them: those that have moved since Envoy began, from nothing.
func Values(s Scrape, all bool) []Change {
	return Compare(Scrape{Series: map[string]Series{}}, s, all)
}

// Restarted says whether between two scrapes Envoy was started again: its uptime, or its counters, fell.
func Restarted(before, after Scrape) bool {
	was, told := before.number("envoy_server_uptime")
	is, tells := after.number("envoy_server_uptime")
	if told && tells && is < was && was != unset {
		return true
	}
	for key, a := range before.Series {
		if b, ok := after.Series[key]; ok && a.Type == "counter" && strings.HasPrefix(a.Name, "envoy_") && b.Value.Number < a.Value.Number {
			return true
		}
	}
	return false
}
