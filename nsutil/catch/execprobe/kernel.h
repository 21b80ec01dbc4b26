/* SPDX-License-Identifier: MIT OR GPL-2.0-only */

/*
 * What exec.bpf.c reads of the kernel's structures: the fields that are used, under the kernel's names. Where they lie is looked up in the
 * running kernel's BTF when the program is loaded (CO-RE), so one object fits all kernels.
 */
#pragma once

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef signed int __s32;
typedef unsigned int __u32;
typedef signed long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

enum bpf_map_type { BPF_MAP_TYPE_RINGBUF = 27 }; /* include/uapi/linux/bpf.h */
enum { SIGSTOP = 19 };

struct bpf_raw_tracepoint_args {
	__u64 args[0];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};

/* Pids (include/linux/pid.h). */
struct ns_common {
	unsigned int inum;
};
struct pid_namespace {
	struct ns_common ns;
};
struct upid {
	int nr;
	struct pid_namespace *ns;
};
struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* Host names (include/linux/utsname.h). */
struct new_utsname {
	char nodename[65];
};
struct uts_namespace {
	struct new_utsname name;
	struct ns_common ns;
};
struct nsproxy {
	struct uts_namespace *uts_ns;
};

/* Files and mounts (include/linux/dcache.h, fs/mount.h). */
struct qstr {
	const unsigned char *name;
};
struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
};
struct vfsmount {
	struct dentry *mnt_root;
};
struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct file {
	struct path f_path;
};
struct mm_struct {
	struct file *exe_file;
};

/* Cgroups (include/linux/cgroup-defs.h, kernel/cgroup/cgroup-internal.h, include/linux/kernfs.h). */
struct kernfs_node {
	struct kernfs_node *__parent; /* since Linux 6.15 */
	const char *name;
};
struct kernfs_node___before_6_15 {
	struct kernfs_node *parent;
};
struct cgroup {
	struct kernfs_node *kn;
};
struct cgrp_cset_link {
	struct cgroup *cgrp;
	struct list_head cgrp_link;
};
struct css_set {
	struct list_head cgrp_links;
};

struct task_struct {
	unsigned int ptrace;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	struct mm_struct *mm;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
};

#pragma clang attribute pop
