package execprobe

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envoyshim/envoyshim/nsutil"
	"github.com/envoyshim/envoyshim/nsutil/catch"
)

// The layout of struct filter in exec.bpf.c.
type (
	name   [256]byte
	ending struct {
		Length, Compared uint32
		Text             name
	}
	filter struct {
		Skip, Count  uint64
		PIDNamespace uint32
		ExeDepth     uint32
		Comm         [16]byte
		Pod          [64]byte
		PodUID       [2]ending
		Container    [4]ending
		Exe          [32]name
	}
)

const (
	hostNameMax    = 63 // Kubernetes cuts a pod's name to it for the host name
	containerIDLen = 64
)

func newFilter(o catch.Options) (*filter, error) {
	ns, err := nsutil.PIDNamespace()
	if err != nil {
		return nil, err
	}
	f := &filter{Skip: uint64(o.Skip), Count: uint64(o.Count), PIDNamespace: uint32(ns)}
	copy(f.Comm[:len(f.Comm)-1], o.Comm)
	pod := o.Pod
	if len(pod) > hostNameMax {
		pod = strings.TrimRight(pod[:hostNameMax], "-.")
	}
	copy(f.Pod[:], pod)
	if o.Exe != "" {
		if err := f.setExe(o.Exe); err != nil {
			return nil, err
		}
	}
	if uid := o.PodUID; uid != "" {
		f.PodUID = [2]ending{
			end("pod"+uid, ""),
			end("pod"+strings.ReplaceAll(uid, "-", "_"), ".slice"), // systemd reads '-' as a slice in a slice
		}
	}
	if id := o.Container; id != "" {
		f.Container[0], f.Container[1] = end(id, ""), end(id, ".scope")
		if len(id) < containerIDLen { // the first digits, as `docker ps` shows them
			f.Container[2], f.Container[3] = end(id, ""), end(id, "")
			f.Container[2].Length, f.Container[3].Length = containerIDLen, containerIDLen+uint32(len(".scope"))
		}
	}
	return f, nil
}

func end(text, suffix string) ending {
	e := ending{Length: uint32(len(text + suffix)), Compared: uint32(len(text + suffix))}
	copy(e.Text[:len(e.Text)-1], text+suffix)
	return e
}

func (f *filter) setExe(path string) error {
	components := strings.Split(strings.TrimPrefix(filepath.Clean(path), "/"), "/")
	if len(components) > len(f.Exe) {
		return fmt.Errorf("%s has %d components: at most %d can be compared", path, len(components), len(f.Exe))
	}
	slices.Reverse(components)
	for i, c := range components {
		if len(c) >= len(f.Exe[i]) {
			return fmt.Errorf("%s has a component of %d bytes: a file's name has at most %d", path, len(c), len(f.Exe[i])-1)
		}
		copy(f.Exe[i][:], c)
	}
	f.ExeDepth = uint32(len(components))
	return nil
}
