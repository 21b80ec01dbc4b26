package timeline

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// checked tells when pilot-agent's readiness checks said yes.
func (a *assembly) checked() {
	asked := map[int]time.Duration{} // by port, when it last was not ready
	answer := map[int]string{}
	done := map[int]bool{}
	for _, p := range a.Probes {
		at := a.elapsed(p.Answered)
		since, before := asked[p.Port]
		switch {
		case done[p.Port]:
		case p.Answer != statusOK:
			asked[p.Port], answer[p.Port] = a.elapsed(p.Asked), p.Answer
		case before:
			done[p.Port] = true
			a.between(AgentReady, strconv.Itoa(p.Port), Pilot, "/healthz/ready", since, at)
		default:
			done[p.Port] = true
			live, known := a.first(Live)
			if !known {
				a.note("it is not known when port %d said ready: it did at the first look, %s after the exec", p.Port, short(a.on(at)))
				continue
			}
			a.between(AgentReady, strconv.Itoa(p.Port), Pilot, "/healthz/ready", live.since, at) // it says so of one that is LIVE only
		}
	}
	for _, port := range slices.Sorted(maps.Keys(asked)) {
		if !done[port] {
			a.note("port %d of pilot-agent's has not said ready, but %q; the agent's log says why", port, answer[port])
		}
	}
}
