package timeline

import "time"

// supervised tells what the supervisor did: the exec, holds, and who was attached.
func (a *assembly) supervised() {
	begin, watched := a.begin()
	if !watched && a.transition("exec") == nil {
		a.between(Exec, "", Proc, a.Exe, -procPrecision, 0)
		a.note("nobody watched the exec: the start is that of the process, which may have executed this program later")
	} else {
		a.exactly(Exec, "", Supervisor, a.Exe, 0)
	}
	stood := a.stood()
	if watched && len(a.History) == 0 && begin.Held > 0 {
		stood = append(stood, apart{kind: Held, to: begin.Held, source: Supervisor})
	}
	for i, s := range a.Stops {
		detail, from := "by a signal", a.elapsed(s.From)
		if s.Tracer != 0 {
			detail = "by a debugger"
		}
		if looked := a.elapsed(a.Since); i == 0 && from-looked < firstLook {
			from = looked // it stood already
		}
		stood = append(stood, apart{kind: Stopped, from: from, to: a.elapsed(s.To), detail: detail, source: Proc})
	}
	if len(a.Stops) > 0 {
		a.note("stops by a debugger were looked for every %s: what was shorter, and runs that were shorter, are not seen", short(oftenest))
	}
	a.setApart(stood)
	atFirst := time.Duration(0) // it has not run a single instruction until then
	for _, s := range a.aparts {
		a.marks = append(a.marks, mark{Phase{Kind: s.kind, Apart: s.to - s.from, Source: s.source, Detail: s.detail}, s.from, s.from})
		if s.from == atFirst {
			atFirst = s.to
		}
	}
	if atFirst > 0 && atFirst < a.elapsed(a.Until) {
		a.exactly(Released, "", Supervisor, "", atFirst)
	}
}

// stood is what the supervisor's history tells of times that the process stood still, and tells who was attached when. A debugger's stops are
// not in it: where nobody looked, a debugger had the process stand all the time.
func (a *assembly) stood() []apart {
	var stood []apart
	still := func(kind Kind, from, to time.Duration, detail string) {
		if to > from {
			stood = append(stood, apart{kind: kind, from: from, to: to, detail: detail, source: Supervisor})
		}
	}
	held, debugged := time.Duration(-1), time.Duration(-1) // since when, or negative
	client := ""
	release := func(at time.Duration) {
		if held >= 0 {
			still(Held, held, at, "")
		}
		if looked := a.elapsed(a.Since); debugged >= 0 && debugged < looked {
			still(Stopped, debugged, min(at, looked), client)
			a.note("%s was attached for %s: how much of that the process stood still is not recorded, and none of it counts", client, short(min(at, looked)-debugged))
		}
		held, debugged = -1, -1
	}
	for i, t := range a.History {
		at := a.recorded(t)
		switch t.What {
		case "held":
			release(at)
			if held = at; i > 0 && a.History[i-1].What == "exec" {
				held = 0 // not one instruction was run in between
			}
		case "attached":
			client = t.By
			a.exactly(Attached, client, Supervisor, t.Client, at)
			if isWatcher(client) && i+1 < len(a.History) && a.History[i+1].What == "resumed" {
				break // which is when it ran
			}
			release(at)
			if !isWatcher(client) {
				debugged = at
			}
		case "detached":
			if !isWatcher(client) {
				a.exactly(Detached, client, Supervisor, t.By, at)
			}
		case "resumed":
			release(at)
		}
	}
	release(a.elapsed(a.Until))
	return stood
}

// recorded is the time of a transition. Those between transitions are by the monotonic clock.
func (a *assembly) recorded(t Transition) time.Duration {
	if exec := a.transition("exec"); exec != nil {
		return max(0, t.Time.Sub(exec.Time))
	}
	return a.wall(t.Time)
}

// isWatcher tells clients of the supervisor under which the process runs on from debuggers.
func isWatcher(client string) bool { return client == "trace" || client == "profile" }

// firstLook is how soon after the begin of a watch the first look at the process is.
const firstLook = 20 * time.Millisecond

// procPrecision is a clock tick (time(7), USER_HZ).
const procPrecision = 10 * time.Millisecond
