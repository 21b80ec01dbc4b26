package test

import "testing"

// remoteLLDB is a user of lldb 19.
func remoteLLDB(t testing.TB, elf, port string, commands ...string) string {
	t.Helper()
	return lldb(t, elf, append([]string{"gdb-remote " + port}, commands...)...)
}

var lldbScripts = []script{
	{
		name:     "break by function, step out, detach",
		commands: []string{"breakpoint set --name tour::leaf", "continue", "bt", "thread step-out", "breakpoint delete -f", "process detach"},
		shows:    []string{"tour::leaf", "tour::outer", "step out", "detached"},
	},
}

func TestSideBySideLLDB(t *testing.T) {
	for _, s := range lldbScripts {
		t.Run(s.name, func(t *testing.T) { s.sideBySide(t, "lldb", remoteLLDB) })
	}
}
