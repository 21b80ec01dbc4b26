#!/usr/bin/env bash
# The whole story with real parts: the real pilot-agent starts what it believes is Envoy; the
# real Envoy is held before its first instruction; a real gdb, then in a second run a real
# lldb, attaches through 127.0.0.1:2159, watches the start, detaches; Envoy goes LIVE; the
# agent ends it as always. A third run debugs a stand-in that has symbols.
# envoyshim itself is the debug server: no gdbserver, no lldb-server.
# Everything runs as in an injected pod: uid 1337, no capabilities, no_new_privs, a
# read-only root, pid and network namespaces of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=HOME,XDG_CACHE_HOME,PATH "$0" "$@"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/envoyshim
work=$(mktemp -d)
chmod 755 "$work"
unshare= agent=
cleanup() {
	[ -z "$unshare" ] || kill -KILL "$unshare" $agent 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n\033[1;36m# %s\033[0m\n' "$*"; }
run() { printf '\033[1m$ %s\033[0m\n' "$*"; "$@"; }
fail() { printf '\033[1;31mdemo: %s\033[0m\n' "$*" >&2; cat "$work/pod.log" >&2 || true; exit 1; }

# What the image would hold: the shim in Envoy's place, the real one beside.
install -D -m 755 bin/envoyshim "$work/image/bin/envoy"
install -D -m 755 bin/envoyshim "$work/image/bin/envoyshim"
install -D -m 755 "$cache/envoy-1.40.0/envoy" "$work/image/real/envoy"
install -D -m 755 bin/test/standin "$work/image/standin/envoy"
install -D -m 755 "$cache/pilot-agent/pilot-agent" "$work/image/bin/pilot-agent"
install -D -m 644 test/pilotagent/bootstrap.json "$work/image/bootstrap.json"
mkdir "$work/pod"

# pod MODE REAL: starts pilot-agent as PID 1 of a pod.
pod() {
	: >"$work/pod.log"
	env -i PATH="$PATH" FILE_MOUNTED_CERTS=true POD_NAME=demo POD_NAMESPACE=default INSTANCE_IP=127.0.0.1 CLOUD_PLATFORM=none \
		PROXY_CONFIG="{\"binaryPath\":\"$work/image/bin/envoy\",\"proxyBootstrapTemplatePath\":\"$work/image/bootstrap.json\",\"discoveryAddress\":\"127.0.0.1:1\",\"controlPlaneAuthPolicy\":\"NONE\"}" \
		ENVOYSHIM_MODE="$1" ENVOYSHIM_REAL="$2" \
		unshare --mount --propagation private --pid --fork --kill-child --mount-proc --net sh -c '
			ip link set lo up && mount -t tmpfs -o mode=1777 tmpfs "$0/pod" && cd "$0/pod" && mount -o remount,bind,ro / &&
			exec setpriv --reuid 1337 --regid 1337 --clear-groups --no-new-privs --bounding-set -all --inh-caps -all \
				"$0/image/bin/pilot-agent" proxy sidecar' "$work" >"$work/pod.log" 2>&1 &
	unshare=$!
	agent=
	for _ in $(seq 300); do
		agent=$(cat "/proc/$unshare/task/$unshare/children" 2>/dev/null | tr -d ' ')
		[ -z "$agent" ] || break
		sleep 0.1
	done
	inside "$work/image/bin/envoyshim" wait --for held --timeout 60s >/dev/null || fail 'Envoy was not held'
	grep -a 'Envoy command\|envoyshim' "$work/pod.log" | cut -c1-400
}
inside() { nsenter -t "$agent" --pid --mount --net --setuid 1337 --setgid 1337 -- "$@"; }
network() { nsenter -t "$agent" --net -- "$@"; }

live() {
	say 'Envoy goes LIVE'
	for _ in $(seq 300); do
		if [ "$(network curl -s 127.0.0.1:15000/ready)" = LIVE ]; then
			run network curl -s 127.0.0.1:15000/server_info | grep -a '"state"\|"version"' | head -2
			return
		fi
		sleep 0.1
	done
	fail 'Envoy did not go LIVE'
}
end() {
	say 'The kubelet sends SIGTERM to pilot-agent, which ends Envoy as always (5 s)'
	kill -TERM "$agent"
	local status=0
	wait "$unshare" || status=$?
	unshare=
	grep -a 'Agent draining\|Graceful\|aborted\|terminated' "$work/pod.log" | cut -c1-120
	[ "$status" = 0 ] || fail "pilot-agent ended with $status"
}
debug() {
	"$@" 2>&1 | tee "$work/client.log" || fail 'the debugger ended with an error'
	if grep -aE 'SIGCONT|SIGTRAP|restarted' "$work/client.log"; then fail 'a stray signal reached the debugger'; fi
}
expect() { for text in "$@"; do grep -qaF -- "$text" "$work/client.log" || fail "the debugger did not show: $text"; done; }
gdb() { network env HOME=/nonexistent DEBUGINFOD_URLS= gdb -nx -q -batch -ex 'set pagination off' -ex 'set width 0' -ex 'set sysroot /' "$@"; }
lldb() { network env HOME=/nonexistent lldb-19 -x -b "$@"; }

say '1. gdb watches the real Envoy start, under the real pilot-agent'
pod debug "$work/image/real/envoy"
run inside "$work/image/bin/envoyshim" status
debug gdb -ex 'target remote 127.0.0.1:2159' -ex 'x/i $pc' -ex 'set breakpoint pending on' \
	-ex 'rbreak ^epoll_create' -ex 'break epoll_create1' -ex continue -ex 'backtrace 5' \
	-ex delete -ex 'break bind' -ex continue -ex 'backtrace 5' \
	-ex delete -ex 'break listen' -ex continue -ex 'backtrace 5' -ex detach "$work/image/real/envoy"
expect '<_start>:' 'epoll_create' 'bind' 'listen' 'detached'
live
end

say '2. lldb watches the real Envoy start'
pod debug "$work/image/real/envoy"
debug lldb -o 'gdb-remote 127.0.0.1:2159' -o 'register read rip' \
	-o 'breakpoint set --shlib libc.so.6 --func-regex epoll_create.*' -o continue -o 'bt 5' \
	-o 'breakpoint delete -f' -o 'breakpoint set --shlib libc.so.6 --name bind' -o continue -o 'bt 5' \
	-o 'breakpoint delete -f' -o 'breakpoint set --shlib libc.so.6 --name listen' -o continue -o 'bt 5' \
	-o 'process detach' "$work/image/real/envoy"
expect '`_start' 'epoll_create' 'libc.so.6`bind' 'libc.so.6`listen' 'detached'
live
end

say '3. gdb stops in main of a stand-in for Envoy that has symbols (the release Envoy has none)'
pod debug "$work/image/standin/envoy"
debug gdb -ex 'target remote 127.0.0.1:2159' -ex 'break Envoy::MainCommon::main' -ex continue -ex backtrace \
	-ex 'break Envoy::Api::OsSysCallsImpl::bind' -ex continue -ex backtrace -ex detach "$work/image/standin/envoy"
expect 'Envoy::MainCommon::main' 'Envoy::Api::OsSysCallsImpl::bind' 'detached'
live
end

say '4. Nobody debugs: the phases of the real Envoy, as one command tells them'
pod debug "$work/image/real/envoy"
debug inside "$work/image/bin/envoyshim" timeline
expect 'loader done' 'admin up' 'workers started' 'LIVE' 'on hold'
live
end

say 'That was it: held before the first instruction, debugged, detached, LIVE, ended; and a start seen without a debugger. See README.md.'
