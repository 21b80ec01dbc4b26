// Package perfdata reads the files of perf record: what was sampled elsewhere, or long ago, becomes a [profile.Profile].
//
//	Convert    convert.go    a file to a profile
//	file       file.go       the header, its sections, and the records one after another (tools/perf/Documentation/perf.data-file-format.txt)
//	inflate    inflate.go    records that are compressed (perf record -z)
//	feature    features.go   what perf tells of the machine, the command and the build-ids
//	cursor     cursor.go     values from bytes
//	event      event.go      what was sampled (struct perf_event_attr, perf_event_open(2)), and the layout of its samples
//	queue      queue.go      records of several CPUs, into the order of their times
//	space      space.go      which files lay where, in the kernel and in each process
//	builder    builder.go    samples to a profile
//	symbols    symbols.go    where files with symbols are looked for
//	kallsyms   kallsyms.go   the names of the kernel's functions
//
// Files of machines of either byte order and width are read, of one event or several, those that perf writes into a pipe, and those that end early
// because perf was killed. Call chains are taken as the kernel has recorded them: by frame pointers. What `--call-graph dwarf` keeps of the stacks is not
// unwound, and the branches of `--call-graph lbr` are not read: such samples have the kernel's part of the chain and the instruction in user space.
package perfdata
