#!/bin/sh
# servers.sh DIR SERVER...   (in a container of Debian, as root)
#
# Puts debug servers into DIR, and into DIR/lib the libraries and the loader that they need, so that they run from
# /usr/local/lib/envoyshim in any image, with a libc or without. A loader's path is absolute (elf(5), PT_INTERP).
set -eu
to=$1 lib=/usr/local/lib/envoyshim/lib llvm=${LLVM:-19}
shift
mkdir -p "$to"
[ $# -gt 0 ] || exit 0
apt-get update -q
for server; do
	case $server in
	gdb) package=gdbserver program=/usr/bin/gdbserver ;;
	lldb) package=lldb-$llvm program=/usr/lib/llvm-$llvm/bin/lldb-server ;;
	lldb-dap) package=lldb-$llvm program=/usr/lib/llvm-$llvm/bin/lldb-dap ;;
	*) echo "servers.sh: $server: expected gdb, lldb or lldb-dap" >&2; exit 2 ;;
	esac
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends patchelf "$package"
	name=$(basename "$program")
	mkdir -p "$to/lib"
	cp -L "$program" "$to/$name"
	loader=$(patchelf --print-interpreter "$program")
	ldd "$program" | sed -n 's/.* => \(\/[^ ]*\).*/\1/p' | while read -r file; do cp -L "$file" "$to/lib/"; done
	cp -L "$loader" "$to/lib/"
	# DT_RPATH, not DT_RUNPATH: libraries find theirs by it, too (ld.so(8)).
	patchelf --set-interpreter "$lib/$(basename "$loader")" --force-rpath --set-rpath "$lib" "$to/$name"
done
# 10 MB compressed of a theorem prover, which only clang's static analyser calls, and which is bound when it is called.
for llvm in "$to"/lib/libLLVM*; do
	[ -e "$llvm" ] || continue
	patchelf --remove-needed libz3.so.4 "$llvm"
	rm -f "$to/lib/libz3.so.4"
done
# They must start from where they will be, with nothing but what is here.
ln -s "$to" "${lib%/lib}"
for program in gdbserver:--version lldb-server:version lldb-dap:--version; do
	[ ! -e "$to/${program%:*}" ] || "$to/${program%:*}" "${program#*:}"
done
