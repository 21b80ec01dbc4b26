package script

// The registers of a function's first argument and of a system call's result (System V ABI; syscall(2)).
const firstArgument, syscallResult = "$rdi", "$rax"
