package trace

import (
	"fmt"
	"path"
	"strings"

	"github.com/envoyshim/envoyshim/internal/backtrace"
	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe"
	"github.com/envoyshim/envoyshim/internal/procfs"
	"github.com/envoyshim/envoyshim/internal/tracee"
)

// maxFunctions bounds what one regular expression may match: each breakpoint is written and taken out again at every stop.
const maxFunctions = 2000

// A site is an address that is watched: a function of a point, or one by which the tracer itself learns something.
type site struct {
	point     *point // nil: none
	function  string
	signature *signature // nil: unknown
	noReturn  bool       // its return is not told
	learn     []func(h *hit)
	file      string // that it is in; "": the program
}

// begin sets the first breakpoints. At the program's first instruction libraries are still to come: the loader calls a function of its own,
// empty, for debuggers when it has changed its list of them, the first time when the program's libraries are all there and none of their
// initialisers has run (link.h, struct r_debug; musl does the same).
func (t *tracer) begin() {
	auxv := procfs.Auxv(t.p.PID())
	const entry, base = 9, 7 // AT_ENTRY, AT_BASE (getauxval(3))
	pc, _ := t.p.PC(t.p.PID())
	fresh := len(t.p.Threads()) == 1 && (pc == auxv[entry] || auxv[base] != 0 && pc == auxv[base]+t.loaderEntry(auxv[base]))
	t.look()
	switch {
	case !fresh:
		t.tellUnresolved("")
	case pc == auxv[entry]: // no loader
		t.atEntry(&hit{tid: t.p.PID(), at: t.now()})
	default:
		t.learn(auxv[entry], func(h *hit) {
			t.look()
			t.atEntry(h)
		})
	}
}

// loaderEntry is the entry point in the header of the loader in memory (elf(5)).
func (t *tracer) loaderEntry(base uint64) uint64 {
	entry, _ := t.word(base + 24)
	return entry
}

// atEntry is where the loader is done.
func (t *tracer) atEntry(h *hit) {
	for _, p := range t.points {
		if p.point.Name == observe.EntryPoint {
			p.found++
			t.call(h, &site{point: p, function: observe.EntryPoint, noReturn: true})
		}
	}
	t.tellUnresolved("")
}

// look looks through the ELF files that have come.
func (t *tracer) look() {
	t.names.Reload()
	there := map[string]uint64{}
	for _, m := range t.names.Modules() {
		there[m.Path] = m.Bias
		if bias, searched := t.searched[m.Path]; searched && bias == m.Bias {
			continue
		}
		if file := t.names.Names().File(m.Path); file != nil {
			t.search(m, file)
		}
	}
	for path, bias := range t.searched {
		if at, still := there[path]; !still || at != bias {
			t.forget(path)
		}
	}
	t.searched = there
}

// forget takes out what was set in a library that is gone.
func (t *tracer) forget(file string) {
	for address, s := range t.sites {
		if s.file == file {
			delete(t.sites, address)
			_ = t.p.Remove(tracee.SoftwareExecute, address, 0)
		}
	}
}

// Functions by which the tracer itself learns something.
const (
	loaderFunction = "_dl_debug_state"
	startFunction  = "__libc_start_main"
	errnoFunction  = "__errno_location"
)

// search looks for the points in one file.
func (t *tracer) search(m backtrace.Module, file *elfinfo.FunctionFile) {
	base := path.Base(strings.TrimSuffix(m.Path, " (deleted)"))
	wanted := t.wantedIn(base)
	program := m.Path == t.exe
	clib := isLibc(base) || program && t.info.Kind != elfinfo.Dynamic
	mains := t.pointsOf(observe.MainPoint)
	t.searching = m.Path
	defer func() { t.searching = "" }()
	_ = file.Each(func(f elfinfo.Function) { // what cannot be read has no functions
		at := m.Bias + f.Value
		switch f.Name {
		case loaderFunction:
			t.learnOnce(at, func(*hit) { t.look() })
		case errnoFunction:
			if code := make([]byte, 32); !t.hasErrno && t.read(at, code) {
				t.errno, t.hasErrno = t.errnoFrom(at, code)
			}
		case "pthread_setname_np", "prctl":
			if clib && t.followsNames() {
				t.namesTold = true
				t.learnOnce(at, func(h *hit) { t.whenReturned(h, func(uint64) { t.named() }) })
			}
		case startFunction: // int (*main)(int, char **, char **), ...
			if clib && len(mains) > 0 && mains[0].found == 0 {
				for _, p := range mains {
					p.expected = true
				}
				t.learnOnce(at, func(h *hit) { t.foundMain(mains, h.argument(t, 0)) })
			}
		case "main", "main.main":
			if program && (f.Name == "main") != file.Go() {
				t.foundMain(mains, at)
			}
		}
		for _, p := range wanted {
			if p.found >= maxFunctions {
				if p.possible(f.Name) {
					p.beyond++
				}
				continue
			}
			if name, ok := p.match(f.Name); ok {
				t.found(p, f, name, at, clib, file.Go())
			}
		}
	})
	for _, p := range wanted {
		if p.beyond > 0 && !p.limited {
			p.limited = true
			t.emit(observe.Event{Kind: observe.Unresolved, Point: p.point.Name, Text: fmt.Sprintf("matches more functions than the first %d, which are traced: up to %d, "+
				"by the words in their names; make it narrower, as /^Envoy::Server::ListenerManagerImpl::/", maxFunctions, p.found+p.beyond)})
		}
	}
}

// found sets a breakpoint for a function of a point.
func (t *tracer) found(p *point, f elfinfo.Function, name string, at uint64, clib, golang bool) {
	if f.Indirect {
		p.found++
		t.learnOnce(at, func(h *hit) {
			t.whenReturned(h, func(result uint64) {
				t.watch(result, &site{point: p, function: name, signature: signatureOf(f.Name, clib)})
			})
		})
		return
	}
	s := &site{point: p, function: name, signature: signatureOf(f.Name, clib), noReturn: !p.point.Return}
	if golang && strings.Contains(f.Name, ".") {
		// A goroutine's stack moves, and so does the goroutine, to other threads: a return is not found again.
		s.noReturn = true
		if code := make([]byte, 32); t.read(at, code) {
			at += behindStackCheck(code)
		}
	}
	p.found++
	t.watch(at, s)
}

// foundMain sets the breakpoint for main.
func (t *tracer) foundMain(mains []*point, at uint64) {
	for _, p := range mains {
		if p.found++; p.found == 1 {
			t.watch(at, &site{point: p, function: "main", signature: mainSignature, noReturn: true})
		}
	}
}

// pointsOf are those for a place that is no symbol.
func (t *tracer) pointsOf(name string) (of []*point) {
	for _, p := range t.points {
		if p.point.Name == name {
			of = append(of, p)
		}
	}
	return of
}

// wantedIn are the points that may name functions of a file.
func (t *tracer) wantedIn(base string) (wanted []*point) {
	for _, p := range t.points {
		if (p.point.File == "" || p.isOf(base)) && !strings.HasPrefix(p.point.Name, "@") {
			wanted = append(wanted, p)
		}
	}
	return wanted
}

// watch tells calls of the function at an address. The first that asks for it names it: constructors and aliases have several names.
func (t *tracer) watch(address uint64, s *site) {
	if old := t.sites[address]; old != nil {
		if old.point == nil {
			s.learn, s.file = old.learn, old.file
			t.sites[address] = s
		}
		return
	}
	t.set(address, s)
}

// learn has f called when a thread comes to an address.
func (t *tracer) learn(address uint64, f func(h *hit)) {
	if s := t.sites[address]; s != nil {
		s.learn = append(s.learn, f)
		return
	}
	t.set(address, &site{learn: []func(*hit){f}})
}

// learnOnce is learn for what is found in two tables of a file.
func (t *tracer) learnOnce(address uint64, f func(h *hit)) {
	if s := t.sites[address]; s == nil || len(s.learn) == 0 {
		t.learn(address, f)
	}
}

func (t *tracer) set(address uint64, s *site) {
	if s.file = t.searching; t.insert(address) == nil {
		t.sites[address] = s
	}
}

// insert sets a breakpoint for what is watched at an address, and for returns to it.
func (t *tracer) insert(address uint64) error {
	return t.p.Insert(tracee.SoftwareExecute, address, 0, func(tid int) bool {
		t.hit(tid, address)
		return false
	})
}

// tellUnresolved tells of the points that name nothing, once. why: what else there is to say.
func (t *tracer) tellUnresolved(why string) {
	for _, p := range t.points {
		if p.found > 0 || p.said || p.expected || p.point.Name == observe.EntryPoint {
			continue
		}
		p.said = true
		t.emit(observe.Event{Kind: observe.Unresolved, Point: p.point.Name, Text: t.reason(p, why)})
	}
}

func (t *tracer) reason(p *point, why string) string {
	var text string
	base, file := path.Base(t.exe), p.point.File
	if file == observe.LibC {
		file = "the C library"
	}
	switch {
	case p.point.Name == observe.MainPoint:
		return fmt.Sprintf("%s has no symbol table (stripped) and no libc that tells where main is", t.exe)
	case p.point.File != "" && p.point.File != base && !t.hasFileOf(p):
		text = file + " is not loaded"
	case p.point.File != "" && p.point.File != base:
		text = fmt.Sprintf("no function of %s has this name", file)
	case !t.info.Symbols:
		text = t.exe + " is stripped"
	default:
		text = fmt.Sprintf("no function of %s has this name", t.exe)
	}
	if p.point.File == "" && len(t.searched) > 1 {
		text += ", and no library has it"
	}
	switch {
	case why != "":
		text += "; " + why
	case t.info.Kind == elfinfo.Dynamic && p.point.File != base:
		text += " so far"
	}
	return text
}

func (t *tracer) hasFileOf(p *point) bool {
	for file := range t.searched {
		if p.isOf(path.Base(file)) {
			return true
		}
	}
	return false
}

// isOf reports whether a file is the one that the point names.
func (p *point) isOf(base string) bool {
	return p.point.File == base || p.point.File == observe.LibC && isLibc(base)
}

// isLibc reports a file of the C library: glibc's, also as it was before 2.34, or musl's.
func isLibc(base string) bool {
	for _, prefix := range []string{"libc.so", "libc-2", "libpthread", "ld-musl-", "libc.musl-"} {
		if strings.HasPrefix(base, prefix) {
			return true
		}
	}
	return false
}
