// Package profile is what samples come to: how often which chain of calls was seen, in which thread, and how long it took.
//
//	Profile          profile.go        the plain model, as JSON; it needs no library
//	Builder          builder.go        from samples to a Profile
//	Files            root_linux.go     the files of a process, which may end before they are read
//	Symbolise        symbols.go        names, from the tables of the ELF files
//	SymboliseKernel  kallsyms.go       names of the kernel's functions
//	Summarise        summary.go        the functions at the top, for a terminal
//	Write            write_linux.go    as pprof, by the carried program, which has package profile/pprof
//
// Its words are pprof's (github.com/google/pprof/blob/main/proto/profile.proto).
package profile

import "time"

// A Profile is samples of one process.
type Profile struct {
	Types      []ValueType   `json:"types"`              // what Sample.Values are, one each
	Default    string        `json:"default,omitempty"`  // the Type that is shown unless another is asked for
	Start      time.Time     `json:"start"`              // of the process's program (its exec), or of the sampling; the zero time: not known
	Duration   time.Duration `json:"duration_ns"`        // of the sampling
	PeriodType ValueType     `json:"period_type"`        // what passes between two samples
	Period     int64         `json:"period"`             // how much of it
	Mappings   []Mapping     `json:"mappings,omitempty"` // the first is the program's own
	Locations  []Location    `json:"locations,omitempty"`
	Samples    []Sample      `json:"samples,omitempty"`
	Comments   []string      `json:"comments,omitempty"` // one line each
}

// A ValueType says what a number is.
type ValueType struct {
	Type string `json:"type"` // samples, cpu, offcpu
	Unit string `json:"unit"` // count, nanoseconds
}

// The types of what this project samples.
var (
	Samples = ValueType{"samples", "count"}
	CPU     = ValueType{"cpu", "nanoseconds"}
	OffCPU  = ValueType{"offcpu", "nanoseconds"} // waiting, or ready while others ran
)

// A Mapping is a part of a file in memory: addresses from Start to Limit are the file's from Offset on.
type Mapping struct {
	Start   uint64 `json:"start"`
	Limit   uint64 `json:"limit"`
	Offset  uint64 `json:"offset"`
	File    string `json:"file,omitempty"`     // as the process saw it; [vdso], [kernel.kallsyms]
	BuildID string `json:"build_id,omitempty"` // in hex
	Symbols bool   `json:"symbols,omitempty"`  // a symbol table was looked at for its Locations
}

// NoMapping is the Mapping of a Location that lies in none.
const NoMapping = -1

// A Location is an address in the code.
type Location struct {
	Address  uint64 `json:"address"`            // in memory; of a caller, one byte before the return address
	Mapping  int    `json:"mapping"`            // in Profile.Mappings, or NoMapping
	Function string `json:"function,omitempty"` // demangled; "": no symbol
	System   string `json:"system,omitempty"`   // as the symbol table has it, where that is another
	File     string `json:"file,omitempty"`     // of the source
	Line     int64  `json:"line,omitempty"`
}

// A Sample is one chain of calls of one thread, and what was counted there.
type Sample struct {
	Stack  []int   `json:"stack"`  // in Profile.Locations, the innermost first
	Values []int64 `json:"values"` // as Profile.Types
	PID    int     `json:"pid,omitempty"`
	TID    int     `json:"tid,omitempty"`
	Thread string  `json:"thread,omitempty"` // its name
}

// Value returns the position of a type in Sample.Values, or -1.
func (p *Profile) Value(typ string) int {
	for i, t := range p.Types {
		if t.Type == typ {
			return i
		}
	}
	return -1
}
