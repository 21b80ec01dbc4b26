package nsutil

import (
	"strings"
	"testing"
)

const (
	podA  = "0f6bdb4b-2c3a-4d1e-9a77-5b8c1d2e3f40"
	podA_ = "0f6bdb4b_2c3a_4d1e_9a77_5b8c1d2e3f40"
	mani  = "d8992f589d8dd12c4342376ccb459375" // the hash of a static pod's manifest
	idA   = "3f5c9a0d7be84e21c6a1f0b9d8e7c6b5a4938271605f4e3d2c1b0a9f8e7d6c5b"
	idB   = "c27755f0fa91e81ababc85ef05cb227227a4228da2e5cb2f4999299c89d4ac69"
)

// v1 is a file in which all of the hierarchies have the same path.
func v1(path string) string {
	var all string
	for _, h := range []string{"12:pids", "11:net_cls,net_prio", "10:blkio", "9:memory", "8:cpu,cpuacct", "7:cpuset", "6:devices", "1:name=systemd"} {
		all += h + ":" + path + "\n"
	}
	return all
}

func v2(path string) string { return "0::" + path + "\n" }

func TestCgroup(t *testing.T) {
	for _, c := range []struct {
		name, text string
		pod, id    string
		path       string // "": not looked at
	}{
		{"nothing", "", "", "", ""},
		{"the root", v2("/"), "", "", "/"},
		{"a service", v2("/system.slice/ssh.service"), "", "", "/system.slice/ssh.service"},
		{"a session, hybrid", "3:memory:/user.slice\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n0::/\n", "", "", "/user.slice/user-0.slice/session-1.scope"},

		{"v2, systemd, containerd, burstable", v2("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"), podA, idA,
			"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"},
		{"v2, systemd, containerd, besteffort", v2("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"), podA, idA, ""},
		{"v2, systemd, containerd, guaranteed", v2("/kubepods.slice/kubepods-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"), podA, idA, ""},
		{"v2, systemd, CRI-O", v2("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + podA_ + ".slice/crio-" + idA + ".scope"), podA, idA, ""},
		{"v2, systemd, CRI-O with crun", v2("/kubepods.slice/kubepods-pod" + podA_ + ".slice/crio-" + idA + ".scope/container"), podA, idA, ""},
		{"v2, systemd, CRI-O's monitor", v2("/kubepods.slice/kubepods-pod" + podA_ + ".slice/crio-conmon-" + idA + ".scope"), podA, "", ""},
		{"v2, systemd, Docker by cri-dockerd", v2("/kubepods.slice/kubepods-pod" + podA_ + ".slice/docker-" + idA + ".scope"), podA, idA, ""},
		{"v2, cgroupfs", v2("/kubepods/burstable/pod" + podA + "/" + idA), podA, idA, ""},
		{"v2, a container's systemd made groups of its own", v2("/kubepods/pod" + podA + "/" + idA + "/system.slice/nginx.service"), podA, idA, ""},
		{"v2, a pod without a container", v2("/kubepods.slice/kubepods-pod" + podA_ + ".slice"), podA, "", ""},
		{"v2, its group was removed", v2("/kubepods/pod" + podA + "/" + idA + " (deleted)"), podA, idA, "/kubepods/pod" + podA + "/" + idA},
		{"static pod, systemd", v2("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + mani + ".slice/cri-containerd-" + idA + ".scope"), mani, idA, ""},
		{"static pod, cgroupfs", v1("/kubepods/burstable/pod" + mani + "/" + idA), mani, idA, ""},

		{"v1, cgroupfs", v1("/kubepods/besteffort/pod" + podA + "/" + idA), podA, idA, ""},
		{"v1, cgroupfs, CRI-O", v1("/kubepods/burstable/pod" + podA + "/crio-" + idA), podA, idA, ""},
		{"v1, cgroupfs, CRI-O's monitor", v1("/kubepods/burstable/pod" + podA + "/crio-conmon-" + idA), podA, "", ""},
		{"v1, systemd", v1("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + podA_ + ".slice/docker-" + idA + ".scope"), podA, idA, ""},
		{"v1, containerd without SystemdCgroup below a kubelet with systemd",
			v1("/system.slice/containerd.service/kubepods-burstable-pod" + podA_ + ".slice:cri-containerd:" + idA), podA, idA, ""},
		{"hybrid: the unified hierarchy knows only the service", "9:memory:/kubepods/burstable/pod" + podA + "/" + idA + "\n1:name=systemd:/kubepods/burstable/pod" + podA + "/" + idA + "\n0::/system.slice/containerd.service\n", podA, idA,
			"/kubepods/burstable/pod" + podA + "/" + idA},
		{"hybrid: only some controllers are used", "12:rdma:/\n9:memory:/kubepods/pod" + podA + "/" + idA + "\n1:name=systemd:/\n0::/\n", podA, idA, ""},
		{"hybrid: one controller stayed with the pod", "9:memory:/kubepods/pod" + podA + "/" + idA + "\n5:devices:/kubepods/pod" + podA + "\n0::/\n", podA, idA, ""},
		{"the same, the other way round", "9:devices:/kubepods/pod" + podA + "\n5:memory:/kubepods/pod" + podA + "/" + idA + "\n0::/\n", podA, idA, ""},

		{"Docker, v2, systemd", v2("/system.slice/docker-" + idA + ".scope"), "", idA, ""},
		{"Docker, v1, cgroupfs", v1("/docker/" + idA), "", idA, ""},
		{"Docker, --cgroup-parent", v1("/actions_job/" + idA), "", idA, ""},
		{"podman, rootful", v2("/machine.slice/libpod-" + idA + ".scope/container"), "", idA, ""},
		{"podman, rootless", v2("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + idA + ".scope"), "", idA, ""},
		{"podman's monitor", v2("/machine.slice/libpod-conmon-" + idA + ".scope"), "", "", ""},
		{"podman, a pod of its own kind", v2("/machine.slice/machine-libpod_pod_" + idB + ".slice/libpod-" + idA + ".scope"), "", idA, ""},
		{"podman, cgroupfs", v1("/libpod_parent/libpod-" + idA), "", idA, ""},
		{"nerdctl", v2("/system.slice/nerdctl-" + idA + ".scope"), "", idA, ""},

		{"kind, systemd", v2("/system.slice/docker-" + idB + ".scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"), podA, idA, ""},
		{"kind, cgroupfs", v1("/docker/" + idB + "/kubelet/kubepods/besteffort/pod" + podA + "/" + idA), podA, idA, ""},
		{"kind, static pod", v2("/docker/" + idB + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + mani + ".slice/cri-containerd-" + idA + ".scope"), mani, idA, ""},
		{"kind, the node's own", v2("/docker/" + idB + "/kubelet.slice/kubelet.service"), "", idB, ""},
		{"minikube, kubelet under a service", v1("/docker/" + idB + "/system.slice/containerd.service/kubepods-pod" + podA_ + ".slice:cri-containerd:" + idA), podA, idA, ""},
		{"a cgroup root of the user's own", v2("/nodes.slice/nodes-kubepods.slice/nodes-kubepods-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"), podA, idA, ""},

		{"from another cgroup namespace", v2("/../../kubepods-burstable-pod" + podA_ + ".slice/cri-containerd-" + idA + ".scope"), podA, idA, ""},
		{"from another container of the pod", v2("/../cri-containerd-" + idA + ".scope"), "", idA, ""},

		{"no uid: too short", v2("/kubepods/pod0f6bdb4b/" + idA), "", idA, ""},
		{"no uid: no hexadecimal number", v2("/kubepods/podz" + podA[1:] + "/x"), "", "", ""},
		{"no uid: another word", v2("/tripod" + podA), "", "", ""},
		{"no id: 63 digits", v2("/docker/" + idA[1:]), "", "", ""},
		{"no id: 65 digits", v2("/docker/a" + idA), "", "", ""},
		{"no id: 32 digits", v2("/jobs/" + mani), "", "", ""},
		{"no line", "kubepods\n", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := parseCgroup(c.text)
			if pod, id := last(g.pods), last(g.containers); pod != c.pod || id != c.id || c.path != "" && g.path != c.path {
				t.Errorf("pod %q, container %q, path %q, of\n%s", pod, id, g.path, c.text)
			}
		})
	}
}

// What is nested is found by any name: the node in its container, the pod in its node.
func TestQueryOfCgroup(t *testing.T) {
	nested := parseCgroup(v2("/docker/" + idB + "/kubelet/kubepods/burstable/pod" + podA + "/" + idA))
	for _, c := range []struct {
		q    Query
		want bool
	}{
		{Query{PodUID: podA}, true},
		{Query{PodUID: podA_}, true},
		{Query{PodUID: strings.ToUpper(podA)}, true},
		{Query{PodUID: mani}, false},
		{Query{Container: idA}, true},
		{Query{Container: idA[:12]}, true},
		{Query{Container: "containerd://" + idA}, true},
		{Query{Container: "docker://" + idB}, true},
		{Query{Container: "cri-o://" + idB[:4]}, true},
		{Query{Container: idA[1:13]}, false},
		{Query{PodUID: podA, Container: idB[:8]}, true},
		{Query{PodUID: mani, Container: idB[:8]}, false},
	} {
		q, err := c.q.Normal()
		if err != nil || q.of(nested) != c.want {
			t.Errorf("%+v: %v, %v", c.q, !c.want, err)
		}
	}
}
