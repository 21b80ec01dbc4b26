package tracee

// StepBack does nothing on arm64: BRK traps with the program counter on itself
// (Arm ARM, D1.10.1, preferred exception return address).
func StepBack(int, uint64) error { return nil }
