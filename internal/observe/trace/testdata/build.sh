#!/bin/sh
# build.sh DIRECTORY [PREFIX]: what the tests trace, by the compilers whose names begin so (aarch64-linux-gnu-).
set -e
source=$(dirname "$0")/traced.cc
"$2g++" -std=c++17 -g -O1 -pthread -o "$1/traced" "$source"
"$2g++" -std=c++17 -g -O1 -pthread -static -w -o "$1/static" "$source"
"$2strip" -o "$1/stripped" "$1/traced"
echo 'int late(int n) { return n * 2; }' | "$2gcc" -x c -shared -fPIC -o "$1/liblate.so" -
