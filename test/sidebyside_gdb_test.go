package test

import "testing"

// remoteGDB is a user of gdb 13.
func remoteGDB(t testing.TB, elf, port string, commands ...string) string {
	t.Helper()
	return gdb(t, elf, append([]string{"target remote " + port}, commands...)...)
}

var gdbScripts = []script{
	{
		name:     "break by function, finish, detach",
		commands: []string{"break tour::leaf", "continue", "backtrace", "finish", "delete", "detach"},
		shows:    []string{"Breakpoint 1, tour::leaf (n=5)", "tour::outer", "Value returned", "detached"},
	},
}

func TestSideBySideGDB(t *testing.T) {
	for _, s := range gdbScripts {
		t.Run(s.name, func(t *testing.T) { s.sideBySide(t, "gdb", remoteGDB) })
	}
}
