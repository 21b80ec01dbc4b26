package trace

import (
	"slices"

	"github.com/envoyshim/envoyshim/internal/elfinfo"
	"github.com/envoyshim/envoyshim/internal/observe"
)

// Add adds what a preset stands for in a program, and returns what a person should know of it, "" if nothing. Where functions have no names
// the system calls are told instead.
func (p Preset) Add(order *observe.Trace, program elfinfo.Info) (note string) {
	functions := p.functions
	if p.unnamed != nil && !program.Symbols {
		functions = nil
		order.Syscalls = union(order.Syscalls, slices.DeleteFunc(slices.Clone(p.unnamed), func(name string) bool { return !IsSyscall(name) }))
		note = "preset " + p.Name + ": the ELF is stripped, so the system calls themselves are told instead of " + p.functions[0].Name
	}
	if own := program.Kind != elfinfo.Dynamic; own && len(p.libc) > 0 && (!program.Symbols || program.Go) {
		for _, f := range p.libc {
			order.Syscalls = union(order.Syscalls, []string{f.Name})
		}
		note = "preset " + p.Name + ": the ELF has no libc whose functions have names, so the system calls themselves are told"
	} else {
		functions = append(slices.Clone(functions), p.libc...)
	}
	order.Points = union(order.Points, functions)
	order.Threads = order.Threads || p.threads
	return note
}

func union[T comparable](all, more []T) []T {
	for _, m := range more {
		if !slices.Contains(all, m) {
			all = append(all, m)
		}
	}
	return all
}
