package early

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Words and lines for code without a runtime: C strings, the line on stderr, paths.

// say writes a line of the event "failed", as the supervisor's log would, to standard error.
// A reader that is gone must not end this process: SIGPIPE is ignored meanwhile.
//
//go:nosplit
//go:norace
func say(p *process, why, then string) {
	said = 0
	if p.json {
		write(`{"level":"error","shim":"envoyshim","event":"failed","pid":`)
		writeNumber(kernel(unix.SYS_GETPID, 0, 0, 0, 0, 0))
		write(`,"message":"`)
		write(why)
		write(then)
		write("\"}\n")
	} else {
		write("envoyshim: failed: ")
		write(why)
		write(then)
		write("\n")
	}
	pipe[0].handler = sigIgn
	kernel(unix.SYS_RT_SIGACTION, uintptr(unix.SIGPIPE), uintptr(unsafe.Pointer(&pipe[0])), uintptr(unsafe.Pointer(&pipe[1])), sigsetSize, 0)
	kernel(unix.SYS_WRITE, 2, uintptr(unsafe.Pointer(&line)), said, 0, 0)
	kernel(unix.SYS_RT_SIGACTION, uintptr(unix.SIGPIPE), uintptr(unsafe.Pointer(&pipe[1])), 0, sigsetSize, 0)
}

// line is what say writes, so far said bytes.
var (
	line [512]byte
	said uintptr
)

//go:nosplit
//go:norace
func write(s string) {
	for i := range len(s) {
		if said < unsafe.Sizeof(line) {
			*(*byte)(unsafe.Add(unsafe.Pointer(&line), said)) = s[i]
			said++
		}
	}
}

//go:nosplit
//go:norace
func writeNumber(n uintptr) {
	unit := uintptr(1)
	for n/unit >= 10 {
		unit *= 10
	}
	for ; unit > 0; unit /= 10 {
		*(*byte)(unsafe.Add(unsafe.Pointer(&line), said)) = byte('0' + n/unit%10)
		said++
	}
}

const wordSize = unsafe.Sizeof(uintptr(0))

// at returns the i-th of an array of pointers.
//
//go:nosplit
//go:norace
func at(array unsafe.Pointer, i uintptr) unsafe.Pointer {
	return *(*unsafe.Pointer)(unsafe.Add(array, i*wordSize))
}

// hasPrefix tells whether the C string at p begins with s; it reads no further than it matches.
//
//go:nosplit
//go:norace
func hasPrefix(p unsafe.Pointer, s string) bool {
	for i := range len(s) {
		if *(*byte)(unsafe.Add(p, i)) != s[i] {
			return false
		}
	}
	return true
}

// equal tells whether the C string at p is s.
//
//go:nosplit
//go:norace
func equal(p unsafe.Pointer, s string) bool {
	return hasPrefix(p, s) && *(*byte)(unsafe.Add(p, len(s))) == 0
}

// joined is where join writes: PATH_MAX, and room for a name.
var joined [4096 + 256]byte

// join returns the path that is the first n bytes of dir and then name, nil when it is too long.
// The next call overwrites it.
//
//go:nosplit
//go:norace
func join(dir unsafe.Pointer, n uintptr, name unsafe.Pointer) unsafe.Pointer {
	start := unsafe.Pointer(&joined)
	if n >= unsafe.Sizeof(joined) {
		return nil
	}
	for i := range n {
		*(*byte)(unsafe.Add(start, i)) = *(*byte)(unsafe.Add(dir, i))
	}
	for ; n < unsafe.Sizeof(joined); n++ {
		c := *(*byte)(name)
		*(*byte)(unsafe.Add(start, n)) = c
		if c == 0 {
			return start
		}
		name = unsafe.Add(name, 1)
	}
	return nil
}

// cstring returns the bytes of a constant that ends in NUL.
//
//go:nosplit
//go:norace
func cstring(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }
