//go:build !carried

package carried

var program []byte // built without it
