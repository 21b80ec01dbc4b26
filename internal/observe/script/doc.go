// Package script traces a process by a real gdb or lldb, which is a client of the process's debug port. A debugger reads debug information:
// it knows arguments with their values, inlined functions and source lines, which our own tracer does not.
//
// gdb is spoken to in its machine interface (GDB manual, "GDB/MI"): its records are complete, quoted, and belong to a command by number. lldb has
// none; it is given formats (https://lldb.llvm.org/use/formatting.html) by which each line of a stop is a record with separators that no name has.
// Neither needs the Python that a debugger may have inside, and neither asks anything.
package script
