//go:build !tls

package tlsport

var program []byte // built without it
