//go:build !carried

package tlsport

var program []byte // built without it
