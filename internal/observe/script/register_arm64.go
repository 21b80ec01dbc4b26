package script

// The registers of a function's first argument and of a system call's result (AAPCS64; syscall(2)).
const firstArgument, syscallResult = "$x0", "$x0"
