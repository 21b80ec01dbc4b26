package catch

import "fmt"

// Method is a way to see an exec.
type Method string

// The methods. Auto is EBPF, or Ptrace when a parent to follow is given.
const (
	Auto   Method = "auto"
	EBPF   Method = "ebpf"
	Ptrace Method = "ptrace"
)

// Open begins to catch by that method. follow is the process whose forks Ptrace follows, or 0.
func Open(m Method, follow int, o Options) (Catcher, error) {
	if m == Ptrace || follow != 0 {
		return OpenFollow(follow, o)
	}
	c, err := OpenEBPF(o)
	if err != nil && m == Auto {
		err = fmt.Errorf("%w; or do without eBPF: --follow PID of the process whose children are to be seen, as containerd-shim's", err)
	}
	return c, err
}
