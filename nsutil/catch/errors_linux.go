package catch

import "errors"

// A method that cannot be used here says one of these, as an Unavailable: then another may do.
var (
	ErrNotPermitted = errors.New("not permitted")
	ErrNotSupported = errors.New("not supported by this kernel")
)

// ErrLost is what Next tells of a process that matched but is not held: somebody killed it or let it run before it could be told, or the catcher
// could not stop it. It counts, and the catching goes on.
var ErrLost = errors.New("a match was lost")

// Unavailable says why a method cannot be used here, in one line with the cure.
type Unavailable struct {
	Reason string // with the capability, or whatever it is
	Cure   string
	Is     error // ErrNotPermitted or ErrNotSupported
}

func (u *Unavailable) Error() string { return u.Reason + ": " + u.Cure }
func (u *Unavailable) Unwrap() error { return u.Is }
