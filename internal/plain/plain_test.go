package plain

import "testing"

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"a name, ünïcode":     "a name, ünïcode",
		"two\nlines\tand tab": "two lines and tab",
		"\x1b]0;title\x07":    "?]0;title?",
		"\u009b31m\x7f\r":     "?31m??",
		"\xff":                "\ufffd", // no UTF-8
	} {
		if got := Text(in); got != want {
			t.Errorf("%q: %q, not %q", in, got, want)
		}
	}
}
