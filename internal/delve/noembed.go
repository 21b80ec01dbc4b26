//go:build !delve

package delve

// carried is empty in a plain `go build`.
var carried []byte
