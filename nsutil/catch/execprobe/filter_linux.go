package execprobe

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

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
		NoPods       [2]uint32
		PodUID       [6]ending
		Container    [4]ending
		Exe          [32]name
	}
)

const containerIDLen = 64 // digits

func newFilter(o catch.Options) (*filter, error) {
	q, err := o.Query(0).Normal()
	if err != nil {
		return nil, err
	}
	ns, err := nsutil.PIDNamespace()
	if err != nil {
		return nil, err
	}
	f := &filter{Skip: uint64(o.Skip), Count: uint64(o.Count), PIDNamespace: uint32(ns)}
	copy(f.Comm[:len(f.Comm)-1], q.Comm)
	if q.Exe != "" {
		if err := f.setExe(q.Exe); err != nil {
			return nil, err
		}
	}
	if q.Pod != "" {
		if err := f.setPod(q.Pod); err != nil {
			return nil, err
		}
	}
	if q.PodUID != "" {
		f.setPodUID(q.PodUID)
	}
	if q.Container != "" {
		f.setContainer(q.Container)
	}
	return f, nil
}

func (f *filter) setPod(pod string) error {
	copy(f.Pod[:], nsutil.HostName(pod))
	var own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/uts", &own); err != nil {
		return fmt.Errorf("read this process's UTS namespace: %w", err)
	}
	f.NoPods = [2]uint32{nsutil.InitialUTS, uint32(own.Ino)}
	return nil
}

// setPodUID knows the kubelet's two ways to name the group of a pod, podUID and ...-podUID.slice, in which systemd would take a '-' for a
// slice in a slice, and containerd's of using the second without systemd. The uid of a static pod is a hash, without dashes.
func (f *filter) setPodUID(uid string) {
	const prefix, behind = "pod", ":cri-containerd:"
	dashed := strings.Join([]string{uid[:8], uid[8:12], uid[12:16], uid[16:20], uid[20:]}, "-")
	endings := f.PodUID[:0]
	for _, uid := range []string{uid, dashed} {
		slice := prefix + strings.ReplaceAll(uid, "-", "_") + ".slice"
		endings = append(endings, end(prefix+uid, 0), end(slice, 0), end(slice+behind, containerIDLen))
	}
}

// setContainer knows ID, RUNTIME-ID.scope and ...:RUNTIME:ID, and also takes the first digits, as `docker ps` shows them.
func (f *filter) setContainer(id string) {
	const scope = ".scope"
	endings := append(f.Container[:0], end(id, 0), end(id+scope, 0))
	if rest := containerIDLen - len(id); rest > 0 {
		_ = append(endings, end(id, rest), end(id, rest+len(scope)))
	}
}

// end is text and so many bytes of anything.
func end(text string, more int) ending {
	e := ending{Length: uint32(len(text) + more), Compared: uint32(len(text))}
	copy(e.Text[:len(e.Text)-1], text)
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
