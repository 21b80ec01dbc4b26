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
	versions  int // further ones
	names     []string
	nonce     string
	detail    string // why it was rejected
	source    string
	at, since time.Duration // it was taken, or refused, in between
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

// oneResponse is how far apart resources of one response may be told.
const oneResponse = 5 * time.Millisecond

// joined makes one of what came by one response, of updates by time: in delta xDS each of its resources has a version of its own, and the log that of
// the response.
func (all updates) joined() (out updates) {
	for _, u := range all {
		i := slices.IndexFunc(out, func(o update) bool { return o.kind == XDS && u.kind == XDS && o.typ == u.typ && o.sameResponse(u) })
		if i < 0 {
			out = append(out, u)
			continue
		}
		o := &out[i]
		names := append(o.names, u.names...)
		if u.source == Log {
			*o = u
		} else if o.source == Admin {
			o.versions++
		}
		o.names = names
	}
	return out
}

// sameResponse reports whether o, and u, which is not earlier, came together. The log has each response once.
func (o *update) sameResponse(u update) bool {
	switch {
	case o.source == Log && u.source == Log:
		return false
	case o.source == Log:
		return u.since <= o.at
	case u.source == Log:
		return o.at >= u.since
	}
	return u.at-o.at <= oneResponse
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
	asked := time.Duration(0) // for resources, before
	for i := range a.Snapshots {
		for _, r := range a.Snapshots[i].XDS {
			if r.Version != "" && r.Updated != nil && r.Status != admin.Rejected {
				all.add(a.seen(update{kind: XDS, typ: r.Type, version: r.Version}, r.Updated, i, asked), r.Name)
			}
			if e := r.Rejection; e != nil {
				u := a.seen(update{kind: XDSRejected, typ: r.Type, version: e.Version, detail: reason(e.Details)}, e.Time, i, asked)
				if all.same(u) < 0 {
					told[r.Type]++
				}
				all.add(u, r.Name)
			}
		}
		if a.Snapshots[i].Full {
			asked = a.elapsed(a.Snapshots[i].Asked)
		}
	}
	asked = 0
	counted := map[string]uint64{} // rejections by type
	for i := range a.Snapshots {
		now := map[string]uint64{}
		for _, s := range a.Snapshots[i].Subscriptions {
			now[s.Type] += s.Rejected
			if s.Version != "" && s.Updated != nil && s.Success > 0 {
				all.add(a.seen(update{kind: XDS, typ: s.Type, version: s.Version}, s.Updated, i, asked), "")
			}
		}
		for _, typ := range slices.Sorted(maps.Keys(now)) {
			n := now[typ]
			if known := max(counted[typ], told[typ]); n > known {
				why := fmt.Sprintf("%s by the counter update_rejected; Envoy's log says why", plural(int(n-known), "rejection"))
				all.add(a.seen(update{kind: XDSRejected, typ: typ, detail: why}, nil, i, asked), "")
			}
			counted[typ] = max(counted[typ], n)
		}
		asked = a.elapsed(a.Snapshots[i].Asked)
	}
	slices.SortStableFunc(all, func(x, y update) int { return cmp.Compare(x.at, y.at) })
	all = all.joined()
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
		u := update{kind: kind, typ: e.Type, version: or(e.Version, received[e.Type].Version), detail: reason(e.Details), source: Log, since: from, at: from + millisecond}
		if r, ok := received[e.Type]; ok {
			u.since = a.wall(r.Time) // it is taken somewhere between the two lines
		}
		delete(received, e.Type)
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
		version := "version " + u.version
		if u.versions > 0 {
			version += fmt.Sprintf(" and %d more", u.versions)
		}
		parts = append(parts, version)
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

// reason is why something was rejected, on one line, without the resource that Envoy writes into the midst of it: "WHERE: goo.gle/debugonly RESOURCE\n: WHY".
func reason(details string) string {
	if i := strings.LastIndex(details, "\n: "); i >= 0 {
		where, _, found := strings.Cut(details[:i], "goo.gle/debug")
		if !found {
			where = ""
		}
		details = where + details[i+len("\n: "):]
	}
	return strings.Join(strings.Fields(details), " ")
}

const millisecond = time.Millisecond
