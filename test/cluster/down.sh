#!/usr/bin/env bash
# Removes what up.sh made, except the parts that it built. Does nothing when nothing is up.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh

[ -e "$state" ] || exit 0
step 'down'
if running; then
	# The node's PID 1 takes all of its processes with it, and they its mounts; unshare ends when they are gone.
	pid=$(<"$state/pid")
	kill -KILL "$(pgrep -P "$pid" || echo "$pid")"
	while [ -e "/proc/$pid" ]; do sleep 0.1; done
fi
# The network would go by itself, but only with its last connection: the kernel tries for minutes to end one whose other end is gone.
ip link delete "$link" 2>/dev/null || true
for c in $cgroups; do
	[ -d "$c/$cgroup" ] || continue
	# A cgroup is busy for a moment after its last process.
	for _ in {1..100}; do
		find "$c/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
done
rm -rf --one-file-system "$state"
