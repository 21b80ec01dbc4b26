package execprobe

// The object is committed: nothing but this needs clang, llvm-strip and the headers of libbpf.
//
// Before Linux 6.8 the verifier refuses a loop whose last instruction falls through into its first one ("back-edge from insn", check_cfg in
// kernel/bpf/verifier.c), which is how clang's block placement likes to lay out loops.
//
//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -target bpfel -tags linux -type event -cflags "-O2 -Wall -Werror -mcpu=v3 -mllvm -disable-block-placement" exec exec.bpf.c
//go:generate sh -c "sha256sum kernel.h exec.bpf.c exec_bpfel.go exec_bpfel.o > generated.sha256"
