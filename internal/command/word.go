package command

import "errors"

// A Word is the value of a flag that narrows what is meant. It is not empty: an empty one is a script's variable that is not set, and would mean
// everything.
type Word string

// UnmarshalText is how kong reads it.
func (w *Word) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("is empty: is a variable not set?")
	}
	*w = Word(text)
	return nil
}
