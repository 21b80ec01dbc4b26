//go:build !carried

package delve

var server []byte // built without it
