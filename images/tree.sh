#!/bin/sh
# tree.sh REAL SHIM TREE ENVOY   (for Dockerfile.debug)
#
# Makes in TREE what is laid over a base: the real programs, which are in REAL, under /usr/local/lib/envoyshim, and in their places the
# SHIM, once, by hard links.
set -eu
real=$1 shim=$2 tree=$3 envoy=$4
lib=$tree/usr/local/lib/envoyshim
bin=$tree$(dirname "$envoy")
mkdir -p "$lib" "$bin" "$tree/usr/local/bin"
cp -p "$real"/* "$lib/"
cp "$shim" "$bin/envoyshim"
ln "$bin/envoyshim" "$bin/$(basename "$envoy")"
[ "$bin" = "$tree/usr/local/bin" ] || ln "$bin/envoyshim" "$tree/usr/local/bin/envoyshim"
if [ -e "$real/pilot-agent" ]; then ln "$bin/envoyshim" "$tree/usr/local/bin/pilot-agent"; fi
chmod 755 "$bin/envoyshim"
