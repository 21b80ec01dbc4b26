package script

// The registers of a function's first argument, and of the result of a function or a system call (AAPCS64; syscall(2)).
const firstArgument, callResult = "$x0", "$x0"
