package timeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// An update is resources of one type that came in one version.
type update struct {
	kind      Kind
	typ       string
	version   string
	names     []string
	nonce     string
	detail    string // why it was rejected
	source    string
	at, since time.Duration
}

// updates are what came from the control plane, so far.
type updates []update

// same finds an update that others have told of already, or is -1. Of a rejection some tell the version, and some more of the reason.
func (all updates) same(u update) int {
	return slices.IndexFunc(all, func(o update) bool {
		switch {
		case o.kind != u.kind || o.typ != u.typ:
			return false
		case o.version != "" && u.version != "" || u.kind == XDS:
			return o.version == u.version
		}
		return strings.Contains(o.detail, u.detail) || strings.Contains(u.detail, o.detail)
	})
}

// add takes an update, or what else is told of one that is there. It reports whether it is new.
func (all *updates) add(u update, name string) bool {
	i := all.same(u)
	if i < 0 {
		*all = append(*all, u)
		i = len(*all) - 1
	}
	o := &(*all)[i]
	if name != "" && !slices.Contains(o.names, name) {
		o.names = append(o.names, name)
	}
	if o.source == u.source && u.at < o.at {
		o.at, o.since = u.at, u.since
	}
	o.detail = or(o.detail, u.detail)
	return i == len(*all)-1
}

// configured tells what came from the control plane. Envoy's log tells most, when it is given and has the lines. The admin port tells of each
// resource when it was taken, and counts updates.
func (a *assembly) configured() {
	all := a.logged()
	told := map[string]uint64{} // rejections by type that a resource or the log has told of
	for _, u := range all {
		if u.kind == XDSRejected {
			told[u.typ]++
		}
	}
	counted := map[string]uint64{}
	resources, counters := time.Duration(0), time.Duration(0) // when they were asked for before
	for i := range a.Snapshots {
		for _, r := range a.Snapshots[i].XDS {
			if r.Version != "" && r.Updated != nil && r.Status != admin.Rejected {
				all.add(a.seen(update{kind: XDS, typ: r.Type, version: r.Version}, r.Updated, i, resources), r.Name)
			}
			if e := r.Rejection; e != nil {
				u := a.seen(update{kind: XDSRejected, typ: r.Type, version: e.Version, detail: firstLine(e.Details)}, e.Time, i, resources)
				if all.same(u) < 0 {
					told[r.Type]++
				}
				all.add(u, r.Name)
			}
		}
		now := map[string]uint64{}
		for _, s := range a.Snapshots[i].Subscriptions {
			now[s.Type] += s.Rejected
			if s.Version != "" && s.Updated != nil && s.Success > 0 {
				all.add(a.seen(update{kind: XDS, typ: s.Type, version: s.Version}, s.Updated, i, counters), "")
			}
		}
		for _, typ := range slices.Sorted(maps.Keys(now)) {
			n := now[typ]
			if known := max(counted[typ], told[typ]); n > known {
				why := fmt.Sprintf("%s by the counter update_rejected; Envoy's log says why", plural(int(n-known), "rejection"))
				all.add(a.seen(update{kind: XDSRejected, typ: typ, detail: why}, nil, i, counters), "")
			}
			counted[typ] = max(counted[typ], n)
		}
		asked := a.elapsed(a.Snapshots[i].Asked)
		if counters = asked; a.Snapshots[i].Full {
			resources = asked
		}
	}
	slices.SortStableFunc(all, func(x, y update) int { return cmp.Compare(x.at, y.at) })
	if first := slices.IndexFunc(all, func(u update) bool { return u.kind == XDS }); first >= 0 {
		a.between(FirstXDS, "", all[first].source, a.controlPlane(), all[first].since, all[first].at)
	}
	for _, u := range all {
		a.between(u.kind, u.typ, u.source, u.describe(), u.since, u.at)
	}
	a.awaited()
}

// seen gives an update the time that Envoy tells, if that fits to when it was first seen, in the i-th snapshot. Else a clock was set meanwhile, and the
// look counts. since is when the same was asked before.
func (a *assembly) seen(u update, told *time.Time, i int, since time.Duration) update {
	u.source, u.at, u.since = Admin, a.elapsed(a.Snapshots[i].Answered), since
	if told != nil {
		if from := a.wall(*told); from >= u.since-millisecond && from <= u.at {
			u.since, u.at = from, from+millisecond // Envoy cuts what is below a millisecond
		}
	}
	return u
}

// logged is what Envoy's log tells. With state of the world the request that follows a response has its nonce.
func (a *assembly) logged() (all updates) {
	received := map[string]admin.XDSEvent{} // by type, what is not answered yet
	last := map[string]int{}                // by type, the update that was answered last
	for _, e := range a.Log {
		if e.Time.IsZero() {
			continue
		}
		kind := XDS
		switch e.Kind {
		case admin.XDSReceived:
			received[e.Type] = e
			continue
		case admin.XDSRequest:
			if i, ok := last[e.Type]; ok && all[i].nonce == "" {
				all[i].nonce = e.Nonce
			}
			continue
		case admin.XDSRejected:
			kind = XDSRejected
		}
		from := a.wall(e.Time)
		u := update{kind: kind, typ: e.Type, version: or(e.Version, received[e.Type].Version), detail: e.Details, source: Log, since: from, at: from + millisecond}
		u.nonce = received[e.Type].Nonce
		last[e.Type] = len(all)
		all = append(all, u)
	}
	return all
}

// awaited notes what never came.
func (a *assembly) awaited() {
	last := a.last()
	if last == nil {
		return
	}
	for _, s := range last.Subscriptions {
		name := strings.TrimSpace(s.Type + " " + s.Name)
		switch {
		case s.Timeout > 0:
			a.note("%s: no first answer came within initial_fetch_timeout, and Envoy went on without", name)
		case s.Failure > 0 && s.Success == 0:
			a.note("%s: %s to reach the control plane failed", name, plural(int(s.Failure), "attempt"))
		case s.Attempt > 0 && s.Success == 0 && s.Rejected == 0:
			a.note("%s: asked for, and not answered", name)
		}
	}
}

// controlPlane is what the control plane calls itself, if it does.
func (a *assembly) controlPlane() string {
	for _, s := range slices.Backward(a.Snapshots) {
		if s.ControlPlane != "" {
			return "from " + s.ControlPlane
		}
		for _, sub := range s.Subscriptions {
			if sub.ControlPlane != "" {
				return "from " + sub.ControlPlane
			}
		}
	}
	return ""
}

// describe says version and resources, of many the first few.
func (u *update) describe() string {
	const few = 3
	var parts []string
	if u.version != "" {
		parts = append(parts, "version "+u.version)
	}
	if u.nonce != "" {
		parts = append(parts, "nonce "+u.nonce)
	}
	switch n := len(u.names); {
	case n > few:
		parts = append(parts, fmt.Sprintf("%d resources: %s, ...", n, strings.Join(u.names[:few], ", ")))
	case n > 0:
		parts = append(parts, strings.Join(u.names, ", "))
	}
	if u.detail != "" {
		parts = append(parts, u.detail)
	}
	return strings.Join(parts, "; ")
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

const millisecond = time.Millisecond
