//go:build !shims

package shim

var carried map[string][]byte // built without them
