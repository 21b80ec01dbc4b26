package timeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// began is when the exec of the records here was: a whole millisecond. It has a monotonic reading, as times of the watch have.
var began = func() time.Time {
	now := time.Now()
	return now.Add(-time.Duration(now.Nanosecond()) % time.Millisecond)
}()

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

func at(n float64) time.Time { return began.Add(ms(n)) }

// wall is a time as another program tells it, in JSON: whole milliseconds, no monotonic reading.
func wall(n float64) *time.Time {
	t := at(n).Round(0).Truncate(time.Millisecond)
	return &t
}

// returned is a call and its return, as the tracer tells them.
func returned(n float64, function, result string, args ...string) []observe.Event {
	call := observe.Event{Kind: observe.Call, Time: ms(n), TID: 1, Point: function, Function: function}
	for _, a := range args {
		call.Args = append(call.Args, observe.Arg{Value: a})
	}
	return []observe.Event{call, {Kind: observe.Return, Time: ms(n), TID: 1, Point: function, Function: function, Result: result}}
}

// traced is the events of a start with a hold of that length, and what is given.
func traced(held time.Duration, events ...[]observe.Event) []observe.Event {
	exec := began.Round(0)
	all := []observe.Event{{Kind: observe.Begin, PID: 7, Exe: "/usr/local/bin/envoy", BuildID: "9e55", Exec: &exec, Held: held}}
	for _, e := range events {
		all = append(all, e...)
	}
	return append(all, observe.Event{Kind: observe.End})
}

// received is when events came: the first at once, the others 300 ms late.
func received(held float64) (all []time.Time) {
	all = append(all, at(held))
	for range 100 {
		all = append(all, at(held+130+300))
	}
	return all
}

func point(n float64, name string) []observe.Event {
	return []observe.Event{{Kind: observe.Call, Time: ms(n), TID: 1, Point: name, Function: name}}
}

func thread(n float64, tid int, name string) []observe.Event {
	return []observe.Event{{Kind: observe.ThreadNew, Time: ms(n), TID: tid, Thread: name}}
}

func happened(n float64, what, by string) Transition {
	return Transition{Time: at(n).Round(0), What: what, By: by}
}

// unreachable and reached are answers of the admin port.
func unreachable(n float64) Snapshot { return Snapshot{Asked: at(n), Answered: at(n + 1)} }

func reached(n float64, s admin.Snapshot) Snapshot {
	s.Reachable = true
	return Snapshot{Asked: at(n), Answered: at(n + 2), Snapshot: s}
}

// phases is the table without sources and details, a line each.
func phases(t *testing.T, r *Record) string {
	t.Helper()
	line, err := Assemble(r)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	var sum time.Duration
	for _, p := range line.Phases {
		fmt.Fprintf(&b, "%s %s", p.title(), p.at())
		if p.Apart > 0 {
			fmt.Fprintf(&b, " apart %s", short(p.Apart))
		}
		b.WriteString("\n")
		sum += p.Took
		if p.Took < 0 || p.Within < 0 || p.Within > p.At+procPrecision {
			t.Errorf("%s took %s within %s", p.title(), p.Took, p.Within)
		}
	}
	if known := line.Watched || strings.Contains(b.String(), "LIVE ") || strings.Contains(b.String(), "exit "); known && sum != line.Total || !known && line.Total != 0 {
		t.Errorf("the parts add up to %s, and the total is %s", sum, line.Total)
	}
	for _, n := range line.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}

// start is a whole start of Envoy after a hold of 2 s, with two workers, a static listener of two sockets, CDS and LDS.
func start() *Record {
	const hold = 2000
	return &Record{
		PID: 7, Exe: "/usr/local/bin/envoy", Args: []string{"envoy", "-c", "b.json"}, AdminAddr: "127.0.0.1:15000",
		History: []Transition{happened(0, "exec", ""), happened(3, "held", ""), happened(hold-1, "attached", "trace"), happened(hold, "resumed", "trace"), happened(hold+130, "detached", "detach")},
		Events: traced(ms(hold),
			point(36, observe.EntryPoint), point(76, observe.MainPoint),
			returned(77, "bind", "0", "5", "netlink:0"),
			returned(95, "bind", "0", "18", "127.0.0.1:15000"), returned(95.1, "listen", "0", "18"),
			thread(96, 8, ""), thread(96.2, 8, "grpc_global_tim"),
			returned(97, "bind", "0", "20", "0.0.0.0:8080"), returned(97.1, "bind", "0", "21", "0.0.0.0:8080"),
			returned(105.5, "bind", "0", "31", "0.0.0.0:9090"), returned(105.6, "bind", "0", "32", "0.0.0.0:9090"),
			returned(105.7, "listen", "0", "20"), returned(105.75, "listen", "0", "21"), returned(105.8, "listen", "0", "31"), returned(105.85, "listen", "0", "32"),
			thread(106, 9, "wrk:worker_0"), thread(106.2, 10, "wrk:worker_1"),
		),
		Received: received(hold),
		Snapshots: []Snapshot{unreachable(hold), unreachable(hold + 50), unreachable(hold + 92),
			reached(hold+98, admin.Snapshot{State: admin.Initializing, Version: "1.40.0"}),
			reached(hold+110, admin.Snapshot{State: admin.Live, Version: "1.40.0", Workers: true, Initialization: ms(23),
				Listeners: []admin.Listener{{Name: "st", Addresses: []string{"0.0.0.0:8080"}}, {Name: "dyn", Addresses: []string{"0.0.0.0:9090"}}},
				XDS: []admin.Resource{
					{Type: "CDS", Name: "c", Version: "5", Updated: wall(hold + 99.5), Status: admin.Accepted},
					{Type: "LDS", Name: "dyn", Version: "7", Updated: wall(hold + 105.4), Status: admin.Accepted}}})},
		Until: at(hold + 130),
	}
}

// wholeStart is what comes of start.
const wholeStart = `exec 0.0 ms
held 0.0 ms apart 2.00 s
attached trace 0.0 ms
released 0.0 ms
loader done 36.0 ms
main 76.0 ms
admin up 95.1 ms
listener bound 0.0.0.0:8080 97.0 ms
admin answers 100.0 ms (-4.9 ms)
first xDS 100.0 ms (-1.0 ms)
xDS CDS 100.0 ms (-1.0 ms)
listener bound 0.0.0.0:9090 105.5 ms
listener active 0.0.0.0:8080 105.7 ms
listener active 0.0.0.0:9090 105.8 ms
xDS LDS 106.0 ms (-1.0 ms)
workers started 106.2 ms
LIVE 112.0 ms (-5.8 ms)
`

// but is a start in which something is otherwise.
func but(change func(r *Record)) *Record {
	r := start()
	change(r)
	return r
}

func TestAssemble(t *testing.T) {
	const hold = 2000
	for _, c := range []struct {
		name   string
		record *Record
		want   string
	}{
		{"a whole start", start(), wholeStart},
		{"without the supervisor's history", but(func(r *Record) { r.History = nil }), strings.Replace(wholeStart, "attached trace 0.0 ms\n", "", 1)},
		{"a history of before the release", but(func(r *Record) { r.History = r.History[:2] }), strings.Replace(wholeStart, "attached trace 0.0 ms\n", "", 1)},
		{"the clock is set an hour forward during the hold", but(func(r *Record) {
			// The supervisor's exec is as it was told; all others tell an hour more. Envoy's own times are right only by luck, and these are not.
			exec := began.Add(-time.Hour).Round(0)
			r.Events[0].Exec = &exec
			for i := range r.History {
				r.History[i].Time = r.History[i].Time.Add(-time.Hour)
			}
		}), wholeStart + "note: the clock of this machine was set by 1h0m0s during the start; what others tell by it is told by when it was seen\n"},
		{"the clock is set back after the release, between Envoy's word and ours", but(func(r *Record) {
			for i := range r.Snapshots[4].XDS {
				u := r.Snapshots[4].XDS[i].Updated.Add(time.Hour)
				r.Snapshots[4].XDS[i].Updated = &u
			}
		}), `exec 0.0 ms
held 0.0 ms apart 2.00 s
attached trace 0.0 ms
released 0.0 ms
loader done 36.0 ms
main 76.0 ms
admin up 95.1 ms
listener bound 0.0.0.0:8080 97.0 ms
admin answers 100.0 ms (-4.9 ms)
listener bound 0.0.0.0:9090 105.5 ms
listener active 0.0.0.0:8080 105.7 ms
listener active 0.0.0.0:9090 105.8 ms
workers started 106.2 ms
first xDS 112.0 ms (-112.0 ms)
xDS CDS 112.0 ms (-112.0 ms)
xDS LDS 112.0 ms (-112.0 ms)
LIVE 112.0 ms (-5.8 ms)
`},
		{"no admin port", but(func(r *Record) {
			r.AdminAddr = ""
			r.Snapshots = []Snapshot{unreachable(hold), unreachable(hold + 128)}
		}), `exec 0.0 ms
held 0.0 ms apart 2.00 s
attached trace 0.0 ms
released 0.0 ms
loader done 36.0 ms
main 76.0 ms
listener bound 127.0.0.1:15000 95.0 ms
listener active 127.0.0.1:15000 95.1 ms
listener bound 0.0.0.0:8080 97.0 ms
listener bound 0.0.0.0:9090 105.5 ms
listener active 0.0.0.0:8080 105.7 ms
listener active 0.0.0.0:9090 105.8 ms
workers started 106.2 ms
note: the admin port never answered: nothing is known of xDS, of names of listeners, and of LIVE
`},
		{"a program that is no Envoy", &Record{
			PID: 7, Exe: "/bin/server", Events: traced(0, point(1, observe.EntryPoint), point(2, observe.MainPoint), returned(3, "bind", "0", "3", "[::]:80"),
				returned(4, "listen", "0", "3"), returned(5, "bind", "0", "4", "10.0.0.1:0"), thread(6, 8, "server")), Until: at(10),
		}, `exec 0.0 ms
loader done 1.0 ms
main 2.0 ms
listener bound [::]:80 3.0 ms
listener active [::]:80 4.0 ms
`},
		{"a listener before main, and one that is refused", &Record{
			PID: 7, Events: traced(0, point(1, observe.EntryPoint), returned(2, "bind", "0", "3", "unix:/run/early"), returned(2.5, "listen", "0", "3"),
				point(3, observe.MainPoint), returned(4, "bind", "-1 EADDRINUSE", "4", "0.0.0.0:80"),
				[]observe.Event{{Kind: observe.Exit, Time: ms(5), Result: "exit status 1"}}), Until: at(10),
		}, `exec 0.0 ms
loader done 1.0 ms
listener bound unix:/run/early 2.0 ms
listener active unix:/run/early 2.5 ms
main 3.0 ms
listener failed 0.0.0.0:80 4.0 ms
exit 5.0 ms
`},
		{"it ends with sockets that never listened", &Record{
			PID: 7, Events: traced(0, returned(2, "bind", "0", "3", "0.0.0.0:80"), returned(2, "bind", "0", "3", "0.0.0.0:0"),
				[]observe.Event{{Kind: observe.Exit, Time: ms(5), Result: "SIGSEGV"}}), Until: at(10),
		}, `exec 0.0 ms
listener bound 0.0.0.0:80 2.0 ms
exit 5.0 ms
`},
		{"rejected xDS, told by the resource, by a counter, and again", but(func(r *Record) {
			bad := admin.Resource{Type: "LDS", Name: "bad", Status: admin.Rejected, Rejection: &admin.Rejection{Time: wall(hold + 107.5), Details: "no filter\nat all"}}
			s := r.Snapshots[4].Snapshot
			r.Snapshots[3].Subscriptions = []admin.Subscription{{Type: "LDS", Rejected: 1}} // a glance, before all was asked for
			s.XDS = append(s.XDS[:2:2], bad)
			s.Subscriptions = []admin.Subscription{{Type: "LDS", Rejected: 1}, {Type: "CDS"}}
			r.Snapshots[4].Snapshot = s
			s.Subscriptions = []admin.Subscription{{Type: "LDS", Rejected: 2}, {Type: "CDS", Rejected: 1}, {Type: "EDS", Name: "c", Attempt: 1}, {Type: "RDS", Name: "r", Timeout: 1}}
			r.Snapshots = append(r.Snapshots, reached(hold+120, s))
		}), strings.Replace(wholeStart, "LIVE", "xDS rejected LDS 108.0 ms (-1.0 ms)\nLIVE", 1) +
			"xDS rejected CDS 122.0 ms (-12.0 ms)\nxDS rejected LDS 122.0 ms (-12.0 ms)\n" +
			"note: EDS c: asked for, and not answered\nnote: RDS r: no first answer came within initial_fetch_timeout, and Envoy went on without\n"},
		{"a debugger that stops it while it is watched", but(func(r *Record) {
			// Not traced then: released at 2000 by a detach, stands from 2080 to 2090 and from 2100 to 2105.
			r.Events, r.Received, r.Since = nil, nil, at(hold)
			r.History = []Transition{happened(0, "exec", ""), happened(3, "held", ""), happened(hold, "resumed", "envoyshim resume"), happened(hold+60, "attached", "gdb")}
			r.Stops = []Stop{{at(hold + 80), at(hold + 90), 99}, {at(hold + 100), at(hold + 105), 99}}
		}), `exec 0.0 ms
held 0.0 ms apart 2.00 s
released 0.0 ms
attached gdb 60.0 ms
stopped 80.0 ms apart 10.0 ms
stopped 90.0 ms apart 5.0 ms
admin answers 90.0 ms (-8.0 ms)
first xDS 90.0 ms (-1.0 ms)
xDS CDS 90.0 ms (-1.0 ms)
xDS LDS 91.0 ms (-1.0 ms)
workers started 97.0 ms (-9.0 ms)
LIVE 97.0 ms (-9.0 ms)
note: stops by a debugger were looked for every 10.0 ms: what was shorter, and runs that were shorter, are not seen
note: the start was not watched by the tracer: the loader, main, sockets and threads are not known
`},
		{"released without a trace, and LIVE before the first look", but(func(r *Record) {
			r.Events, r.Received, r.Since = nil, nil, at(hold-1)
			r.History = []Transition{happened(0, "exec", ""), happened(3, "held", ""), happened(hold, "resumed", "envoyshim timeline")}
			r.Snapshots = r.Snapshots[4:]
			r.Snapshots[0].XDS = nil
		}), `exec 0.0 ms
held 0.0 ms apart 2.00 s
released 0.0 ms
admin answers 112.0 ms (-112.0 ms)
workers started 112.0 ms (-112.0 ms)
LIVE 112.0 ms (-112.0 ms)
note: the start was not watched by the tracer: the loader, main, sockets and threads are not known
`},
		{"a debugger before the watch", but(func(r *Record) {
			r.History = []Transition{happened(0, "exec", ""), happened(3, "held", ""), {Time: at(500).Round(0), What: "attached", By: "lldb", Client: "127.0.0.1:9"},
				happened(1500, "detached", "lost"), happened(1501, "held", ""), happened(hold-1, "attached", "trace"), happened(hold, "resumed", "trace")}
			r.Since = at(hold - 10)
		}), strings.Replace(wholeStart, "apart 2.00 s\nattached trace 0.0 ms\n", `apart 500.0 ms
attached lldb 0.0 ms
stopped 0.0 ms apart 1.00 s
detached lldb 0.0 ms
held 0.0 ms apart 499.0 ms
attached trace 0.0 ms
`, 1) +
			"note: lldb was attached for 1.00 s: how much of that the process stood still is not recorded, and none of it counts\n"},
		{"a debugger that comes back after LIVE", but(func(r *Record) {
			r.History = append(r.History, happened(hold+120, "attached", "gdb"), happened(hold+125, "held", ""))
			r.Until = at(hold + 60000)
		}), wholeStart},
		{"Envoy runs already", &Record{
			PID: 7, Exe: "/usr/local/bin/envoy", Started: at(-5), Since: at(60000), Until: at(60010), AdminAddr: "127.0.0.1:15000",
			Snapshots: []Snapshot{reached(60000, start().Snapshots[4].Snapshot)}, Probes: []Probe{{at(60000), at(60001), 15021, "200"}},
		}, `exec 0.0 ms (-10.0 ms)
first xDS 2105.0 ms (-1.0 ms)
xDS CDS 2105.0 ms (-1.0 ms)
xDS LDS 2111.0 ms (-1.0 ms)
note: nobody watched the exec: the start is that of the process, which may have executed this program later
note: it is not known when the admin port first answered: that was so at the first look, 1m0s after the exec
note: it is not known when the workers were started: that was so at the first look, 1m0s after the exec
note: it is not known when Envoy became LIVE: that was so at the first look, 1m0s after the exec
note: the start was not watched by the tracer: the loader, main, sockets and threads are not known
note: it is not known when port 15021 said ready: it did at the first look, 1m0s after the exec
`},
		{"seen afterwards, and traced once it was LIVE", &Record{
			PID: 7, Since: at(60000), Until: at(60100), History: []Transition{happened(0, "exec", ""), happened(10, "held", ""), happened(50, "resumed", "envoyshim resume"),
				happened(400, "attached", "trace"), happened(900, "detached", "detach")},
			Snapshots: []Snapshot{reached(60001, admin.Snapshot{State: admin.Live, Initialization: ms(80)})},
		}, `exec 0.0 ms
held 0.0 ms apart 50.0 ms
released 0.0 ms
note: it is not known when the admin port first answered: that was so at the first look, 59.95 s after the exec
note: it is not known when Envoy became LIVE: that was so at the first look, 59.95 s after the exec
note: the start was not watched by the tracer: the loader, main, sockets and threads are not known
note: who was attached after the release is left out: that may have been after the start
`},
		{"pilot-agent", but(func(r *Record) {
			r.Probes = []Probe{{at(hold), at(hold + 1), 15021, "503 Service Unavailable"}, {at(hold), at(hold + 1), 15020, "503 Service Unavailable"}, {at(hold + 112), at(hold + 114), 15021, "503 Service Unavailable"},
				{at(hold + 112), at(hold + 115), 15020, "200"}, {at(hold + 120), at(hold + 122), 15021, "200"}}
		}), wholeStart + "agent ready 15020 115.0 ms (-115.0 ms)\nagent ready 15021 122.0 ms (-10.0 ms)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := phases(t, c.record); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
	if _, err := Assemble(&Record{PID: 7}); err == nil {
		t.Error("a start of nobody knows when")
	}
}

// What Envoy's log tells has nonces, and takes the place of what the admin port tells of the same.
func TestAssembleWithLog(t *testing.T) {
	const listener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	r := but(func(r *Record) {
		bad := admin.Resource{Type: "LDS", Name: "bad", Status: admin.Rejected, Rejection: &admin.Rejection{Details: "no filter"}}
		r.Snapshots[4].XDS = append(r.Snapshots[4].XDS, bad)
		r.Snapshots[4].Subscriptions = []admin.Subscription{{Type: "LDS", Rejected: 1}}
		r.Log = []admin.XDSEvent{
			{Time: *wall(2104), Kind: admin.XDSReceived, Type: "LDS", TypeURL: listener, Version: "7"},
			{Time: *wall(2105), Kind: admin.XDSAccepted, Type: "LDS", TypeURL: listener, Version: "7"},
			{Time: *wall(2105), Kind: admin.XDSRequest, Type: "LDS", TypeURL: listener, Version: "7", Nonce: "n1"},
			{Time: *wall(2107), Kind: admin.XDSReceived, Type: "LDS", TypeURL: listener, Version: "8"},
			{Time: *wall(2108), Kind: admin.XDSRejected, Type: "LDS", TypeURL: listener, Details: "Error adding listener: no filter"},
			{Time: *wall(2108), Kind: admin.XDSRequest, Type: "LDS", TypeURL: listener, Version: "7", Nonce: "n2"},
		}
	})
	line, err := Assemble(r)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range line.Phases {
		if p.Kind == XDS || p.Kind == XDSRejected {
			got = append(got, fmt.Sprintf("%s %s %s: %s", p.title(), milli(p.At), p.Source, p.Detail))
		}
	}
	want := []string{
		"xDS CDS 100.0 ms admin: version 5; c",
		"xDS LDS 106.0 ms log: version 7; nonce n1; dyn",
		"xDS rejected LDS 109.0 ms log: version 8; nonce n2; bad; Error adding listener: no filter",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
