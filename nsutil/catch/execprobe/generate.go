package execprobe

// The object is committed: nothing but this needs clang, llvm-strip and the headers of libbpf.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -tags linux -type event -cflags "-O2 -Wall -Werror -mcpu=v3" exec exec.bpf.c
//go:generate sh -c "sha256sum kernel.h exec.bpf.c exec_bpfel.go exec_bpfel.o > generated.sha256"
