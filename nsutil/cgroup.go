package nsutil

import "strings"

// A cgroup is what the path of a control group tells of pods and containers.
type cgroup struct {
	path       string
	pods       []string // uids, the innermost last: a pod may hold a node whose pods these are (kind)
	containers []string // ids, the innermost last
}

// parseCgroup reads the text of /proc/PID/cgroup (cgroups(7)). Where there are several hierarchies, of version 1, or of both, a
// runtime need not use all of them: that one counts which tells most.
func parseCgroup(text string) cgroup {
	var best cgroup
	seen := ""
	for line := range strings.Lines(text) {
		// hierarchy-ID:controller-list:cgroup-path, and the path may have colons.
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) < 3 || f[2] == seen {
			continue
		}
		seen = f[2]
		if c := readCgroup(f[2]); best.path == "" || c.tells(best) {
			best = c
		}
	}
	return best
}

// tells reports whether a path tells more than another one.
func (c cgroup) tells(other cgroup) bool {
	a, b := c.rank(), other.rank()
	return a > b || a == b && len(c.path) > len(other.path)
}

func (c cgroup) rank() int {
	n := 0
	if len(c.pods) > 0 {
		n += 2
	}
	if len(c.containers) > 0 {
		n++
	}
	return n
}

// readCgroup reads one path. The kubelet names the group of a pod, with its cgroup driver "cgroupfs" or "systemd",
//
//	/kubepods/burstable/podUID/ID
//	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/RUNTIME-ID.scope
//	/system.slice/containerd.service/kubepods-burstable-podUID.slice:RUNTIME:ID     containerd without SystemdCgroup
//
// below whatever its node is itself in, and without a class when that is Guaranteed. From within another cgroup namespace
// the path begins with /.. as often as it takes (cgroup_namespaces(7)).
func readCgroup(path string) cgroup {
	path = strings.TrimSuffix(path, " (deleted)")
	c := cgroup{path: path}
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == ':' }) {
		if uid := podUID(name); uid != "" {
			c.pods = append(c.pods, uid)
		}
		if id := containerID(name); id != "" {
			c.containers = append(c.containers, id)
		}
	}
	return c
}

// podUID is the uid in the name of a pod's group, with dashes, which systemd's names cannot have; "" for another group. The uid of a static
// pod is a hash, 32 digits.
func podUID(name string) string {
	name = strings.TrimSuffix(name, ".slice")
	at := strings.LastIndex(name, "pod")
	if at < 0 || at > 0 && name[at-1] != '-' {
		return ""
	}
	uid := strings.ReplaceAll(name[at+len("pod"):], "_", "-")
	if digits := strings.ReplaceAll(uid, "-", ""); len(digits) != 32 || !hexadecimal(digits) {
		return ""
	}
	return uid
}

// containerID is the id in the name of a container's group: ID, docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope;
// "" for another group, such as that of a container's monitor, crio-conmon-ID.scope.
func containerID(name string) string {
	const digits = 64
	name = strings.TrimSuffix(name, ".scope")
	if len(name) < digits {
		return ""
	}
	runtime, id := name[:len(name)-digits], name[len(name)-digits:]
	if !hexadecimal(id) || runtime != "" && !strings.HasSuffix(runtime, "-") || strings.HasSuffix(runtime, "conmon-") {
		return ""
	}
	return id
}

func hexadecimal(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// last is the innermost, or "".
func last(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return names[len(names)-1]
}
