#!/usr/bin/env bash
# Removes what up.sh made, except the parts that it built. Does nothing when nothing is up.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh

[ -e "$state" ] || exit 0
step 'down'
if running; then
	# The node's PID 1 takes all of its processes with it, and they its mounts and its network.
	pid=$(<"$state/pid")
	kill -KILL $(pgrep -P "$pid") "$pid"
	while [ -e "/proc/$pid" ] || ip link show "$link" >/dev/null 2>&1; do sleep 0.1; done
fi
for c in $cgroups; do
	[ -d "$c/$cgroup" ] || continue
	# A cgroup is busy for a moment after its last process.
	for _ in {1..100}; do
		find "$c/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
done
rm -rf --one-file-system "$state"
