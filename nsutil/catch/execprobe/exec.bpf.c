//go:build ignore

/* SPDX-License-Identifier: MIT OR GPL-2.0-only */

/*
 * Stops a process that executes what is wanted before the first instruction of it, and nothing else.
 *
 * The tracepoint sched_process_exec lies at the end of execve(2), in the process itself: comm, exe_file and all are the new program's, and
 * the way to its first instruction leads past the place where signals are taken. Needs Linux 5.8 (ring buffer), 5.12 for skip and count
 * (atomic operations that fetch).
 */
#include "kernel.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define NAME 256       /* of a file or a cgroup, with its NUL (NAME_MAX) */
#define HOST 64        /* a host name (__NEW_UTS_LEN) */
#define DEPTH 32       /* of a path, of nested pid namespaces (MAX_PID_NS_LEVEL), of a cgroup */
#define MOUNTS 16      /* on top of each other */
#define HIERARCHIES 24 /* of cgroups */

/* The licence is for the kernel, which lends most helpers to none but the GPL and what goes with it. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Compared by words: the rest is zero. */
union name {
	char text[NAME];
	__u64 words[NAME / 8];
};

/* An ending of a cgroup's name. A '-' or a ':' stands before it, or it is the whole name. */
struct ending {
	__u32 length;   /* of the ending; 0: unused */
	__u32 compared; /* so much of its beginning is text; the rest may be anything */
	union name text;
};

/* What is wanted; set before the program is loaded, so that the verifier drops the code of what is not. */
struct filter {
	__u64 skip, count;          /* count 0: all */
	__u32 pid_namespace;        /* of the catcher, by inode number */
	__u32 exe_depth;            /* components of exe; 0: any */
	char comm[16];              /* "": any */
	char pod[HOST];             /* likewise */
	__u32 no_pods[2];           /* UTS namespaces, by inode number, that are the node's: no pod has their name */
	struct ending pod_uid[6];   /* one of them; the first unused: any */
	struct ending container[4]; /* likewise */
	union name exe[DEPTH];      /* its components, the last one first */
};
const volatile struct filter filter;

/* What has happened, and the switch. */
__u64 matches, missed;
volatile _Bool off;

/* A process that matched. */
struct event {
	__u64 started; /* ns since boot */
	__u64 at;      /* likewise */
	__u64 missed;  /* by now, for want of room */
	__u32 pid;     /* in the catcher's pid namespace */
	__s32 error;   /* of the signal: it runs on */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
	__type(value, struct event);
} events SEC(".maps");

static __always_inline _Bool has_comm(void)
{
	union { char text[16]; __u64 words[2]; } comm = {};
	const volatile __u64 *want = (const volatile __u64 *)filter.comm;

	if (!filter.comm[0])
		return 1;
	bpf_get_current_comm(comm.text, sizeof(comm.text));
	return comm.words[0] == want[0] && comm.words[1] == want[1];
}

/* The pid by which the catcher knows the process; 0: it does not see it, and nobody there could resume it. */
static __always_inline __u32 visible_pid(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, group_leader, thread_pid);
	__u32 level = BPF_CORE_READ(pid, level);

	for (__u32 i = 0; i <= DEPTH && i <= level; i++) {
		struct upid *upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) + i * bpf_core_type_size(struct upid);

		if (BPF_CORE_READ(upid, ns, ns.inum) == filter.pid_namespace)
			return BPF_CORE_READ(upid, nr);
	}
	return 0;
}

/* With setHostnameAsFQDN a host name goes on after the pod's name: .SUBDOMAIN.NAMESPACE.svc, and a domain perhaps. */
static __always_inline _Bool is_domain(const char *rest)
{
	int dots = 0;

	for (int i = 0; i < HOST && rest[i]; i++)
		if (rest[i] == '.' && ++dots == 3)
			return rest[i + 1] == 's' && rest[i + 2] == 'v' && rest[i + 3] == 'c' && (!rest[i + 4] || rest[i + 4] == '.');
	return 0;
}

static __always_inline _Bool in_pod(struct task_struct *task)
{
	struct uts_namespace *uts;
	char name[2 * HOST + 8] = {}; /* longer, for is_domain at its end */
	__u32 inode;

	if (!filter.pod[0])
		return 1;
	uts = BPF_CORE_READ(task, nsproxy, uts_ns);
	inode = BPF_CORE_READ(uts, ns.inum);
	if (inode == filter.no_pods[0] || inode == filter.no_pods[1])
		return 0;
	bpf_core_read(name, sizeof(uts->name.nodename), &uts->name.nodename);
	for (int i = 0; i < HOST; i++) {
		if (!filter.pod[i])
			return !name[i] || is_domain(name + i);
		if (name[i] != filter.pod[i])
			return 0;
	}
	return 0;
}

/* Functions that are not static are verified once, and not again at each call (Linux 5.6): they take numbers only. */

__noinline int is_component(__u64 entry, __u32 n)
{
	struct dentry *dentry = (void *)entry;
	union name name = {};

	if (n >= DEPTH)
		return 0;
	bpf_probe_read_kernel_str(name.text, sizeof(name.text), BPF_CORE_READ(dentry, d_name.name));
	for (int i = 0; i < NAME / 8; i++)
		if (name.words[i] != filter.exe[n].words[i])
			return 0;
	return 1;
}

/* From the root of a mount to the place that it is mounted on. True: this is the root of the mount namespace. */
static __always_inline _Bool leave_mounts(struct dentry **dentry, struct vfsmount **at)
{
	for (int i = 0; i < MOUNTS && *dentry == BPF_CORE_READ(*at, mnt_root); i++) {
		struct mount *mount = (void *)*at - bpf_core_field_offset(struct mount, mnt);
		struct mount *parent = BPF_CORE_READ(mount, mnt_parent);

		if (mount == parent)
			return 1;
		*dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		*at = (void *)parent + bpf_core_field_offset(struct mount, mnt);
	}
	return 0;
}

/* As /proc/PID/exe tells it, up to the root of the mount namespace of the file (prepend_path in fs/d_path.c). */
static __always_inline _Bool has_exe(struct task_struct *task)
{
	struct file *exe;
	struct dentry *dentry;
	struct vfsmount *at;

	if (!filter.exe_depth)
		return 1;
	exe = BPF_CORE_READ(task, mm, exe_file);
	dentry = BPF_CORE_READ(exe, f_path.dentry);
	at = BPF_CORE_READ(exe, f_path.mnt);
	for (__u32 n = 0; n < DEPTH && n < filter.exe_depth; n++) {
		struct dentry *parent;

		if (leave_mounts(&dentry, &at))
			return 0;
		parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == parent || !is_component((__u64)dentry, n))
			return 0;
		dentry = parent;
	}
	return leave_mounts(&dentry, &at);
}

static __always_inline _Bool ends(struct kernfs_node *node, const volatile struct ending *ending)
{
	const char *name = BPF_CORE_READ(node, name);
	union name got = {};
	long start = bpf_probe_read_kernel_str(got.text, sizeof(got.text), name) - 1 - (long)ending->length;
	char before = '-';

	if (!ending->length || start < 0)
		return 0;
	if (start > 0)
		bpf_probe_read_kernel(&before, 1, name + start - 1);
	if (before != '-' && before != ':')
		return 0;
	__builtin_memset(&got, 0, sizeof(got));
	bpf_probe_read_kernel(got.text, ending->compared & (NAME - 1), name + start);
	for (int i = 0; i < NAME / 8; i++)
		if (got.words[i] != ending->text.words[i])
			return 0;
	return 1;
}

__noinline int is_pod_uid(__u64 node)
{
	for (int i = 0; i < sizeof(filter.pod_uid) / sizeof(filter.pod_uid[0]); i++)
		if (ends((void *)node, &filter.pod_uid[i]))
			return 1;
	return 0;
}

__noinline int is_container(__u64 node)
{
	for (int i = 0; i < sizeof(filter.container) / sizeof(filter.container[0]); i++)
		if (ends((void *)node, &filter.container[i]))
			return 1;
	return 0;
}

__noinline int is_inside(__u64 cgroup)
{
	struct kernfs_node *node = (void *)cgroup;
	_Bool pod_uid = !filter.pod_uid[0].length, container = !filter.container[0].length;

	for (int i = 0; i < DEPTH && node; i++) {
		struct kernfs_node___before_6_15 *old = (void *)node;

		pod_uid = pod_uid || is_pod_uid((__u64)node);
		container = container || is_container((__u64)node);
		if (pod_uid && container)
			return 1;
		if (bpf_core_field_exists(node->__parent))
			node = BPF_CORE_READ(node, __parent);
		else
			node = BPF_CORE_READ(old, parent);
	}
	return 0;
}

/* In the unified hierarchy or in any of version 1, also one without a controller, as systemd's. */
static __always_inline _Bool in_cgroup(struct task_struct *task)
{
	struct list_head *end, *link;
	struct css_set *set;

	if (!filter.pod_uid[0].length && !filter.container[0].length)
		return 1;
	set = BPF_CORE_READ(task, cgroups);
	end = (void *)set + bpf_core_field_offset(struct css_set, cgrp_links);
	link = BPF_CORE_READ(end, next);
	for (int i = 0; i < HIERARCHIES && link != end; i++) {
		struct cgrp_cset_link *of = (void *)link - bpf_core_field_offset(struct cgrp_cset_link, cgrp_link);

		if (is_inside((__u64)BPF_CORE_READ(of, cgrp, kn)))
			return 1;
		link = BPF_CORE_READ(link, next);
	}
	return 0;
}

SEC("raw_tp/sched_process_exec")
int envoyshim_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	struct event *event;
	__u32 pid;

	if (off || !has_comm())
		return 0;
	pid = visible_pid(task);
	/* What is traced is its tracer's: the signal would be, too. */
	if (!pid || BPF_CORE_READ(task, ptrace) || !in_pod(task) || !has_exe(task) || !in_cgroup(task))
		return 0;
	if (filter.skip || filter.count) {
		__u64 n = __sync_fetch_and_add(&matches, 1);

		if (n < filter.skip || (filter.count && n - filter.skip >= filter.count))
			return 0;
	}

	/* Nobody is stopped of whom nobody would hear. */
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&missed, 1);
		return 0;
	}
	event->error = bpf_send_signal(SIGSTOP);
	event->started = BPF_CORE_READ(task, start_boottime);
	event->at = bpf_ktime_get_boot_ns();
	event->missed = missed;
	event->pid = pid;
	bpf_ringbuf_submit(event, 0);
	return 0;
}
