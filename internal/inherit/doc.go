// Package inherit keeps what a process got from its parent intact across the
// Go runtime, so that the program it becomes by execve(2) cannot tell that Go
// ran in between.
//
// The early entry (entry_linux_*.s, contract in README.md) runs before the
// runtime and notes the signal mask, the ignored signals and the closed
// standard descriptors. [Exec] puts them back and becomes the new program.
// [Spawn] starts a helper that is nobody's child.
//
// A binary linked without -E envoyshim_entry works too: [Environ] and [ExecFn]
// then ask /proc, and [Exec] passes on the signal state as the runtime left it.
// The runtime keeps an inherited "ignored" only for HUP, INT, CONT, TSTP, TTIN,
// TTOU and 34, and takes about 15 signals out of the blocked mask.
package inherit
