// Package mtls is the TLS of a debug port beyond loopback: TLS 1.3 (RFC 8446) in which both sides show a certificate. It is
// all that knows crypto/tls, which bin/envoyshim must not link: it would cost every start of Envoy (RATIONALE.md).
//
//	Config     files.go    ca.crt, tls.crt, tls.key
//	Terminate  server.go   the port's side
//	Dial       client.go   the user's side
package mtls
