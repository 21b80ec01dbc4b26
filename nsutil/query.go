package nsutil

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Query says which processes are looked for: all that is given must be so.
type Query struct {
	PID       int    // in this pid namespace
	Comm      string // proc_pid_comm(5). The kernel cuts it to CommLen bytes, and so does the search
	Exe       string // what /proc/PID/exe is, in the process's own mount namespace, without the kernel's " (deleted)"
	Pod       string // host name of the UTS namespace; the pod's name, as the kubelet makes a host name of it
	PodUID    string // of the path of the cgroup, with dashes or without
	Container string // the id in that path, or its beginning, at least 4 digits; RUNTIME:// ahead of it is left out

	loose bool // Exe is only the last element of the path, Pod is only the beginning
}

// CommLen is the most bytes that a command name has (TASK_COMM_LEN of the kernel, without the zero byte).
const CommLen = 15

// hostNameLen is the most characters that the kubelet gives to a pod's host name.
const hostNameLen = 63

// Check tells what is wrong with a query.
func (q Query) Check() error {
	_, err := q.Normal()
	return err
}

// Normal is the query in the form in which it is compared: a uid without dashes, an id without a runtime, a path that is clean. The error is Check's.
func (q Query) Normal() (Query, error) {
	if q == (Query{}) {
		return q, fmt.Errorf("nothing says which process: give a pid, a pod, a container, a comm or an exe")
	}
	if q.PID < 0 {
		return q, fmt.Errorf("%d is no pid", q.PID)
	}
	q.Comm = q.Comm[:min(len(q.Comm), CommLen)]
	if q.Exe != "" {
		if !path.IsAbs(q.Exe) {
			return q, fmt.Errorf("%q is no absolute path, as /proc/PID/exe is; a name without a path is a comm", q.Exe)
		}
		q.Exe = path.Clean(q.Exe)
	}
	if q.Pod != strings.ToLower(q.Pod) {
		return q, fmt.Errorf("%q is no name of a pod, which has no capital letters", q.Pod)
	}
	if q.PodUID != "" {
		uid := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(q.PodUID))
		if len(uid) != 32 || !hexadecimal(uid) {
			return q, fmt.Errorf("%q is no uid of a pod, which has 32 hexadecimal digits", q.PodUID)
		}
		q.PodUID = uid
	}
	if q.Container != "" {
		_, id, ok := strings.Cut(q.Container, "://")
		if !ok {
			id = q.Container
		}
		id = strings.ToLower(id)
		if len(id) < 4 || len(id) > 64 || !hexadecimal(id) {
			return q, fmt.Errorf("%q is no id of a container, nor the first 4 or more of its 64 hexadecimal digits", q.Container)
		}
		q.Container = id
	}
	return q, nil
}

// String says what is looked for, as "comm envoy, pod web-0".
func (q Query) String() string {
	var parts []string
	for _, p := range []struct{ what, value string }{{"comm", q.Comm}, {"exe", q.Exe}, {"pod", q.Pod}, {"pod uid", q.PodUID}, {"container", q.Container}} {
		if p.value != "" {
			parts = append(parts, p.what+" "+Printable(p.value))
		}
	}
	if q.PID != 0 {
		parts = append([]string{"pid " + strconv.Itoa(q.PID)}, parts...)
	}
	return strings.Join(parts, ", ")
}

// Printable is s, quoted when it has anything that a terminal or a table would take for something else: processes choose their names.
func Printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// HostName is what the kubelet makes of a pod's name: cut to 63 characters, without dashes and dots at its end then.
func HostName(pod string) string {
	if len(pod) > hostNameLen {
		return strings.TrimRight(pod[:hostNameLen], "-.")
	}
	return pod
}

// hosts reports whether a pod of the name q.Pod has this host name, or, with setHostnameAsFQDN, NAME.SUBDOMAIN.NAMESPACE.svc.DOMAIN.
func (q Query) hosts(host string) bool {
	if q.loose {
		return strings.HasPrefix(host, q.Pod)
	}
	if host == q.Pod || host == HostName(q.Pod) {
		return true
	}
	domain, ok := strings.CutPrefix(host, q.Pod+".")
	labels := strings.Split(domain, ".")
	return ok && len(labels) >= 3 && labels[2] == "svc"
}

// runs reports whether q.Exe is the path that /proc/PID/exe shows.
func (q Query) runs(exe string) bool {
	if q.loose {
		return path.Base(alive(exe)) == path.Base(q.Exe)
	}
	return exe == q.Exe || alive(exe) == q.Exe
}

// alive is the path that an executable file had before it was removed.
func alive(exe string) string { return strings.TrimSuffix(exe, " (deleted)") }

// of reports whether the group is of the pod, or of the container, that are looked for, or inside of them.
func (q Query) of(c cgroup) bool {
	uid := func(uid string) bool { return strings.ReplaceAll(uid, "-", "") == q.PodUID }
	id := func(id string) bool { return strings.HasPrefix(id, q.Container) }
	return (q.PodUID == "" || slices.ContainsFunc(c.pods, uid)) && (q.Container == "" || slices.ContainsFunc(c.containers, id))
}
