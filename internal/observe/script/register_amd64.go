package script

// The registers of a function's first argument, and of the result of a function or a system call (System V ABI; syscall(2)).
const firstArgument, callResult = "$rdi", "$rax"
