package early

// The shim and its supervisor are joined by a SOCK_SEQPACKET socket pair: one message,
// one packet, native byte order. The supervisor sends orders; the shim answers each but
// the last with one word, an errno or 0.
const (
	orderAllow = 1 + iota // arg: the pid that may trace the shim (prctl(2), PR_SET_PTRACER)
	orderExec             // arg: argc; then a plan
	orderExit             // arg: the exit status
)

// An order is the two words op and arg. The plan of orderExec goes on with the offset of the
// path, from the start of the message; then, unless arg is sameArgs, argc words, each the
// offset of a string or keptArg+i for argument i of the shim's own; then a word
// that the shim makes the end of argv; then the strings, each with its NUL.
const (
	orderWords = 2
	sameArgs   = 1<<64 - 1
	keptArg    = 1 << 63
	maxOrder   = 24 << 10 // words
)

// What the supervisor starts with: its end of the socket pair; the shim's stderr, for which /dev/null
// stands in until the shim's first word: 0, enough threads can be had; and a pipe to the process in the middle,
// which a byte makes end.
const (
	supervisorFD = 3
	heldStderrFD = 4
	leaveFD      = 5
)

// superviseCommand is the supervisor's argv[1]; argv[2] is the shim's AT_EXECFN.
const superviseCommand = "supervise"

// libDir is where the real program lies unless ENVOYSHIM_REAL says otherwise.
const libDir = "/usr/local/lib/envoyshim/"
