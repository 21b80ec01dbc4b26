package test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// auxv reads a value of the auxiliary vector of pid (getauxval(3)).
func auxv(t testing.TB, pid int, key uint64) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", pid))
	if err != nil {
		t.Fatal(err)
	}
	for ; len(b) >= 16; b = b[16:] {
		if binary.NativeEndian.Uint64(b) == key {
			return binary.NativeEndian.Uint64(b[8:])
		}
	}
	t.Fatalf("no entry %d in the auxiliary vector", key)
	return 0
}

// entryPoint computes where pid executes its first instruction: in its loader, else
// at its own entry (AT_BASE is 0 then; AT_ENTRY is relocated).
func entryPoint(t testing.TB, pid int) uint64 {
	t.Helper()
	base := auxv(t, pid, 7)
	if base == 0 {
		return auxv(t, pid, 9)
	}
	exe, err := elf.Open(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	for _, p := range exe.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err != nil {
				t.Fatal(err)
			}
			loader, err := elf.Open(strings.TrimRight(string(name), "\x00"))
			if err != nil {
				t.Fatal(err)
			}
			defer loader.Close()
			return base + loader.Entry
		}
	}
	t.Fatal("AT_BASE without a loader")
	return 0
}

// pc reads the program counter of a stopped process without tracing it
// (proc_pid_syscall(5)): "running", or NR args... SP PC; -1 SP PC when it is in no
// system call.
func pc(t testing.TB, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b))
	var n uint64
	if _, err := fmt.Sscanf(f[len(f)-1], "0x%x", &n); err != nil {
		t.Fatalf("/proc/%d/syscall: %s", pid, b)
	}
	return n
}

// sameText compares the executable pages of pid that come from files: the program, libc
// and the loader, with the files: no breakpoint byte may be left.
func sameText(t testing.TB, pid int) {
	t.Helper()
	if foreign := foreignText(t, pid); len(foreign) > 0 {
		t.Fatal(foreign[0])
	}
}

// foreignText says which bytes are not those of the files.
func foreignText(t testing.TB, pid int) (foreign []string) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	compared := 0
	for line := range strings.Lines(string(maps)) {
		var from, to, offset uint64
		var perms, dev, path string
		var inode uint64
		if n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %d %s", &from, &to, &perms, &offset, &dev, &inode, &path); n != 7 || perms != "r-xp" || inode == 0 {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		st, _ := file.Stat()
		size := min(to-from, uint64(st.Size())-offset)
		a, b := make([]byte, size), make([]byte, size)
		_, err1 := unix.Pread(int(mem.Fd()), a, int64(from))
		_, err2 := file.ReadAt(b, int64(offset))
		file.Close()
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %v, %v", path, err1, err2)
		}
		if !bytes.Equal(a, b) {
			for i := range a {
				if a[i] != b[i] {
					foreign = append(foreign, fmt.Sprintf("%s+%#x is %#x in memory and %#x in the file", path, offset+uint64(i), a[i], b[i]))
				}
			}
		}
		compared++
	}
	if compared == 0 {
		t.Fatal("no executable mapping was found")
	}
	return foreign
}
