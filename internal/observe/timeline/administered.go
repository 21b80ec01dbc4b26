package timeline

import (
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// becomes finds when what the admin port was asked became so: since is the last moment when it was not. ok is false when it never was, or was at
// the first look already, which sawFirst says.
func (a *assembly) becomes(is func(s *Snapshot) bool) (since, at time.Duration, sawFirst, ok bool) {
	for i := range a.Snapshots {
		s := &a.Snapshots[i]
		if !is(s) {
			since = a.elapsed(s.Asked)
			continue
		}
		at = a.elapsed(s.Answered)
		return since, at, i == 0, i > 0
	}
	return 0, 0, false, false
}

// last is the last snapshot that told anything, or nil.
func (a *assembly) last() *Snapshot {
	for i := len(a.Snapshots) - 1; i >= 0; i-- {
		if a.Snapshots[i].Reachable {
			return &a.Snapshots[i]
		}
	}
	return nil
}

// administered tells what Envoy says of itself.
func (a *assembly) administered() {
	last := a.last()
	if last == nil {
		if len(a.Snapshots) > 0 {
			a.note("the admin port never answered: nothing is known of xDS, of names of listeners, and of LIVE")
		}
		return
	}
	a.line.Version, a.line.Initialization = last.Version, last.Initialization
	if a.line.State == "" {
		a.line.State = string(last.State)
	}
	// What was so at the first look can have been so for ever, unless the tracer has seen what must come before it, or it was released by the watch.
	released, isReleased := a.first(Released)
	isReleased = isReleased && released.at >= a.elapsed(a.Since)
	for _, p := range []struct {
		kind   Kind
		after  Kind
		is     func(*Snapshot) bool
		detail string
		what   string
	}{
		{AdminAnswers, AdminUp, func(s *Snapshot) bool { return s.Reachable }, "", "when the admin port first answered"},
		{WorkersStarted, AdminAnswers, func(s *Snapshot) bool { return s.Workers }, "", "when the workers were started"},
		{Live, WorkersStarted, func(s *Snapshot) bool { return s.State == admin.Live }, "", "when Envoy became LIVE"},
	} {
		if _, there := a.first(p.kind); there {
			continue // by the tracer, who knows better
		}
		since, at, sawFirst, ok := a.becomes(p.is)
		before, known := a.first(p.after)
		switch {
		case ok || sawFirst && (known && before.Source == Kernel || isReleased || len(a.Stops) > 0): // one that stands still cannot be looked at
			a.between(p.kind, "", Admin, p.detail, since, at)
			if isReleased {
				a.notBefore(p.kind, released.at)
			}
			if known && before.Source == Kernel {
				a.notBefore(p.kind, before.at)
			}
		case sawFirst:
			a.note("it is not known %s: that was so at the first look, %s after the exec", p.what, short(a.on(at)))
		}
	}
	if last.Initialization == 0 && last.State == admin.Live {
		a.note("server.initialization_time_ms is not known yet: Envoy adds it to its stats at the next flush, every 5 s unless stats_flush_interval says otherwise")
	}
	if !a.line.Watched {
		a.note("the start was not watched by the tracer: the loader, main, sockets and threads are not known")
	}
}

// listenerNames are Envoy's, by address.
func (a *assembly) listenerNames() map[string]string {
	names := map[string]string{}
	for _, s := range a.Snapshots {
		for _, l := range s.Listeners {
			for _, address := range l.Addresses {
				if old := names[address]; old != "" && old != l.Name && !strings.Contains(old, l.Name) {
					names[address] = old + " " + l.Name
				} else if old == "" {
					names[address] = l.Name
				}
			}
		}
	}
	return names
}
