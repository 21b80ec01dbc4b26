// Package execprobe is what [catch.OpenEBPF] starts: the program in the kernel that stops execs, and the process that loads it and reads what it
// tells. It is linked into the program that is carried only (package carried).
//
//	exec.bpf.c, kernel.h    the program in the kernel; generate.go makes exec_bpfel.go and .o of it
//	filter                  filter_linux.go   what is wanted, as the program compares it
//	probe                   probe_linux.go    loading, attaching, reading
//	refusal                 refusal_linux.go  why the kernel does not take it
//	Main                    main_linux.go     the process
//
// The kernel holds the program by descriptors of this process only: when it ends, however, nothing stays loaded.
package execprobe
