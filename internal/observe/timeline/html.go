package timeline

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"math"
	"strings"
	"time"

	"github.com/envoyshim/envoyshim/internal/plain"
)

// page is the frame: style, and a little script that the page can do without. The size of the program of pods counts: no html/template.
//
//go:embed page.html
var page string

// HTML writes the timeline as one self-contained page.
func (t *Timeline) HTML(w io.Writer) error {
	data, err := json.Marshal(t) // escapes <, > and &: no string in it can end the script
	if err != nil {
		return err
	}
	var p picture
	p.Timeline = t
	p.body()
	_, err = strings.NewReplacer("{{title}}", escape(t.title()), "{{body}}", p.String(), "{{data}}", string(data)).WriteString(w, page)
	return err
}

// picture is the page's body.
type picture struct {
	bytes.Buffer
	*Timeline
	scale time.Duration // the axis' length
}

func escape(s string) string { return html.EscapeString(plain.Text(s)) }

func (p *picture) add(format string, args ...any) { fmt.Fprintf(p, format, args...) }

func (p *picture) body() {
	name := "Start of " + or(p.Exe, "a process")
	if p.Version != "" {
		name = "Start of Envoy " + p.Version
	}
	p.add("<h1>%s</h1>\n<div class=\"soft break\">%s</div>\n", escape(name), escape(p.title()))
	if len(p.Args) > 1 {
		p.add("<div class=\"soft break\">arguments: %s</div>\n", escape(strings.Join(p.Args[1:], " ")))
	}
	p.add("<dl class=\"sums\">")
	sum := func(what, value string) { p.add("<div><dt>%s</dt><dd>%s</dd></div>", escape(what), escape(value)) }
	total := "from the exec to the last phase"
	if _, live := p.phase(Live); live {
		total = "from the exec to the last phase, " + p.State
	}
	if p.Total > 0 {
		sum(total, short(p.Total))
	}
	if p.Held > 0 {
		sum("apart from it: on hold", short(p.Held))
	}
	if p.Debugged > 0 {
		sum("apart from it: stopped by a debugger", short(p.Debugged))
	}
	if p.Traced > 0 {
		sum("of it standing still for the trace", short(p.Traced))
	}
	if p.Initialization > 0 {
		sum("Envoy's own initialization time", short(p.Initialization))
	}
	if p.Compared != nil {
		sum("the old run", short(p.Compared.Total))
	}
	p.add("</dl>\n")
	p.chart()
	p.table()
	p.add("<h2>Notes</h2>\n<ul>\n")
	for _, line := range append(append(p.sums(), p.comparison()...), p.Notes...) {
		p.add("<li class=\"break\">%s</li>\n", escape(line))
	}
	p.add("</ul>\n<p><button id=\"save\" hidden>Save as JSON</button></p>\n")
}

// chart is the picture: a row for each phase, which begins where the one before it ended, and lanes below.
func (p *picture) chart() {
	p.scale = p.Total
	if n := len(p.Phases); n > 0 {
		p.scale = max(p.scale, p.Phases[n-1].At)
	}
	for _, t := range p.Threads {
		p.scale = max(p.scale, t.Begin, t.End)
	}
	if p.Compared != nil {
		p.scale = max(p.scale, p.Compared.Total)
	}
	p.scale = max(p.scale+p.scale/50, millisecond)
	p.add("<div class=\"key\"><span><i class=\"bar\" style=\"position:static\"></i>kernel</span><span><i class=\"bar Supervisor\" style=\"position:static\"></i>supervisor, /proc</span>" +
		"<span><i class=\"bar Admin\" style=\"position:static\"></i>admin port</span><span><i class=\"bar Agent\" style=\"position:static\"></i>pilot-agent</span>" +
		"<span><i class=\"bar Admin\" style=\"position:static;opacity:.35\"></i>happened somewhere in here</span><span><i class=\"apart\"></i>stood still: not on the axis</span>")
	if p.Compared != nil {
		p.add("<span><i class=\"bar old\" style=\"position:static\"></i>the old run</span>")
	}
	p.add("</div>\n<div class=\"chart\" role=\"img\" aria-label=\"The phases as bars over time; the table below has the same\">\n")
	p.axis()
	before := time.Duration(0)
	for i, ph := range p.Phases {
		p.row(fmt.Sprintf(" data-phase=\"%d\"", i), ph.title(), ph.took())
		if ph.Apart > 0 {
			side := ""
			if p.percent(ph.At) > 60 {
				side = " left"
			}
			p.add("<span class=\"apart%s\" style=\"left:%.3f%%\"><b>%s %s</b></span>", side, p.percent(ph.At), escape(ph.title()), escape(short(ph.Apart)))
		} else {
			if certain := ph.At - ph.Within; certain > before || ph.Within == 0 {
				p.bar(ph.class(), before, certain)
			}
			if ph.Within > 0 {
				p.bar(ph.class()+" within", ph.At-ph.Within, ph.At)
				p.bar(ph.class(), ph.At, ph.At)
			}
		}
		if ph.Old != nil {
			p.bar("old", ph.Old.At-ph.Old.Took, ph.Old.At)
		}
		p.end(ph.took())
		before = ph.At
	}
	p.lanes()
	p.add("</div>\n")
}

// lanes show what goes on beside each other.
func (p *picture) lanes() {
	p.lane("xDS", "at", func(ph Phase) bool { return ph.Kind == XDS || ph.Kind == XDSRejected }, func(ph Phase) {
		p.row("", or(ph.Name+" ", "")+ph.Detail, "")
		p.bar(ph.class(), ph.At-max(ph.Within, p.scale/400), ph.At)
		p.end(milli(ph.At))
	})
	p.lane("listeners", "bound to active", func(ph Phase) bool { return ph.Kind == ListenerBound }, func(ph Phase) {
		p.row("", ph.Name, ph.Detail)
		value := "not active"
		end := ph.At
		for _, active := range p.Phases {
			if active.Kind == ListenerActive && active.Name == ph.Name {
				end, value = active.At, milli(active.At-ph.At)
				p.bar("rest", end, max(end, p.Total))
			}
		}
		p.bar("", ph.At, end)
		p.end(value)
	})
	if len(p.Threads) == 0 {
		return
	}
	p.heading("threads", "began")
	const most = 64
	for _, t := range p.Threads[:min(most, len(p.Threads))] {
		end := t.End
		if end == 0 {
			end = p.Total
		}
		p.row("", or(t.Name, "without a name")+fmt.Sprintf(" (%d)", t.TID), "")
		p.bar("Supervisor", t.Begin, max(t.Begin, end))
		p.end(milli(t.Begin))
	}
	if more := len(p.Threads) - most; more > 0 {
		p.row("", fmt.Sprintf("and %s more", plural(more, "thread")), "")
		p.end("")
	}
}

// lane is a heading and a row for each phase that is of it.
func (p *picture) lane(name, value string, is func(Phase) bool, draw func(Phase)) {
	first := true
	for _, ph := range p.Phases {
		if !is(ph) {
			continue
		}
		if first {
			p.heading(name, value)
			first = false
		}
		draw(ph)
	}
}

func (p *picture) heading(name, value string) {
	p.add("<div class=\"row lane\"><div class=\"name\">%s</div><div class=\"plot\"></div><div class=\"value\">%s</div></div>\n", escape(name), escape(value))
}

func (p *picture) row(attributes, name, title string) {
	p.add("<div class=\"row\"%s title=\"%s\"><div class=\"name\">%s</div><div class=\"plot\">", attributes, escape(strings.TrimSpace(name+" "+title)), escape(name))
	for at := p.step(); at < p.scale; at += p.step() {
		p.add("<i class=\"grid\" style=\"left:%.3f%%\"></i>", p.percent(at))
	}
}

func (p *picture) end(value string) {
	p.add("</div><div class=\"value\">%s</div></div>\n", escape(value))
}

func (p *picture) bar(class string, from, to time.Duration) {
	p.add("<span class=\"bar %s\" style=\"left:%.3f%%;width:%.3f%%\"></span>", class, p.percent(from), p.percent(to)-p.percent(from))
}

func (p *picture) axis() {
	p.add("<div class=\"row head\"><div class=\"name\">phase</div><div class=\"plot\"><span class=\"tick first\" style=\"left:0\">0</span>")
	for at := p.step(); at < p.scale-p.step()/3; at += p.step() {
		label := fmt.Sprintf("%d ms", at.Milliseconds())
		switch {
		case p.step() < millisecond:
			label = fmt.Sprintf("%g ms", float64(at)/float64(millisecond))
		case p.step() >= time.Second/10 && p.scale > 2*time.Second:
			label = fmt.Sprintf("%g s", math.Round(at.Seconds()*10)/10)
		}
		p.add("<span class=\"tick\" style=\"left:%.3f%%\">%s</span>", p.percent(at), label)
	}
	p.add("</div><div class=\"value\">took</div></div>\n")
}

// step is the distance of the axis' marks: 1, 2 or 5 of a power of ten, and at most ten of them.
func (p *picture) step() time.Duration {
	for unit := 100 * time.Microsecond; ; unit *= 10 {
		for _, n := range []time.Duration{1, 2, 5} {
			if p.scale <= 10*n*unit {
				return n * unit
			}
		}
	}
}

func (p *picture) percent(at time.Duration) float64 {
	return 100 * float64(max(0, min(at, p.scale))) / float64(p.scale)
}

// took is what the picture says at the end of a phase's row.
func (ph *Phase) took() string {
	if ph.Apart > 0 {
		return ""
	}
	return milli(ph.Took)
}

// class is a phase's in the style sheet.
func (ph *Phase) class() string {
	switch {
	case ph.Kind == XDSRejected || ph.Kind == ListenerFailed || ph.Kind == Ended:
		return "Bad"
	case ph.Source == Supervisor:
		return "Supervisor"
	case ph.Source == Admin:
		return "Admin"
	case ph.Source == Pilot:
		return "Agent"
	case ph.Source == Proc:
		return "Proc"
	}
	return ""
}

func (p *picture) table() {
	p.add("<h2>Phases</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>phase</th><th class=\"n\">at</th>")
	if p.Compared != nil {
		p.add("<th class=\"n\">was</th><th class=\"n\">difference</th>")
	}
	p.add("<th class=\"n\">took</th>")
	if p.Compared != nil {
		p.add("<th class=\"n\">was</th>")
	}
	p.add("<th class=\"n\">apart</th><th>source</th><th>detail</th></tr></thead>\n<tbody>\n")
	for i, ph := range p.Phases {
		p.add("<tr data-phase=\"%d\"><td>%s</td><td class=\"n\">%s</td>", i, escape(ph.title()), ph.at())
		at, took, difference, class := "-", "-", "only in this run", ""
		if o := ph.Old; o != nil {
			at, took, difference = milli(o.At), milli(o.Took), o.difference()
			switch {
			case o.Difference > 0:
				class = " slower"
			case o.Difference < 0:
				class = " faster"
			}
		}
		if p.Compared != nil {
			p.add("<td class=\"n\">%s</td><td class=\"n%s\">%s</td>", at, class, difference)
		}
		p.add("<td class=\"n\">%s</td>", milli(ph.Took))
		if p.Compared != nil {
			p.add("<td class=\"n\">%s</td>", took)
		}
		p.add("<td class=\"n\">%s</td><td>%s</td><td class=\"break\">%s</td></tr>\n", ph.apart(), ph.Source, escape(ph.Detail))
	}
	p.add("</tbody></table></div>\n")
}
