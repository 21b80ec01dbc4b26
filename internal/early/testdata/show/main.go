// Command show tells on descriptor 3 what it was given, in the form of ../real.c. As the supervisor of a
// shim it tells what package early knows of that, on the shim's descriptor 3, and then has the
// shim do what its name says:
//
//	become  execute its arguments, from argv[1] on
//	change  execute argv[1] with "new", its own arguments backwards, and ""
//	same    execute argv[1] with its own arguments
//	fail    execute nothing that is there, tell the errno, end with status 7
//	die     nothing: the supervisor ends
//
// and else end with status 0.
package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/early"
)

func main() {
	shim, supervisor, err := early.Connect()
	if err != nil {
		panic(err)
	}
	if !supervisor {
		report(3, "show", early.ExecFn(), os.Args)
		return
	}
	name, argv := shim.Name, shim.Argv
	switch name {
	case "die":
		return
	case "become":
		order(shim, argv[1], argv[1:])
	case "same":
		order(shim, argv[1], argv)
	case "change":
		changed := append([]string{"new"}, argv...)
		slices.Reverse(changed)
		order(shim, argv[1], append(changed, ""))
	case "fail":
		shim.Stay()
		order(shim, "/proc/nonexistent", argv)
		err := shim.Became()
		report(shimFD(shim), fmt.Sprint(err), name, argv)
		shim.Exit(7)
	default:
		report(shimFD(shim), "supervisor", name, argv)
		shim.Exit(0)
	}
}

func order(shim *early.Shim, path string, argv []string) {
	if err := shim.AllowTracer(uintptr(os.Getpid())); err != nil {
		panic(err)
	}
	if err := shim.Exec(path, argv); err != nil {
		panic(err)
	}
}

// shimFD opens the shim's descriptor 3.
func shimFD(shim *early.Shim) int {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/3", shim.PID), os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	return int(f.Fd())
}

func report(fd int, who, name string, argv []string) {
	environ, err := os.ReadFile("/proc/self/environ") // with duplicates, unlike os.Environ
	if err != nil {
		panic(err)
	}
	words := append([]string{who, "", name, strconv.Itoa(len(argv))}, argv...)
	if _, err := os.NewFile(uintptr(fd), "report").WriteString(strings.Join(words, "\x00") + "\x00" + string(environ)); err != nil {
		panic(err)
	}
}
