package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"time"
)

const (
	// lastWords is how long a client may take to read the end of a stream before its connection is closed: a close with bytes unread
	// would reset it, and the words be lost.
	lastWords = 5 * time.Second
	// unread is how long a client may leave unread what is sent to it.
	unread = 5 * time.Minute
)

// Server returns what a debug port needs: mutual TLS 1.3 by the files of dir. They are read again for each client, as Kubernetes renews
// certificates.
func Server(dir string) (*tls.Config, error) {
	if _, err := load(dir); err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			f, err := load(dir)
			if err != nil {
				f, err = load(dir) // in the middle of a renewal
			}
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{f.own},
				ClientAuth:             tls.RequireAndVerifyClientCert,
				ClientCAs:              f.others,
				SessionTicketsDisabled: true, // each client shows its certificate anew
			}, nil
		},
	}, nil
}

// A HalfCloser is a stream connection of which each direction ends by itself.
type HalfCloser interface {
	net.Conn
	CloseWrite() error
}

// Terminate serves one client: the handshake, and then the client's bytes to inner and those of inner to the client, until both have
// ended. The end of one direction is passed on as such; a connection that breaks closes both, and so does the end of inner
// during the handshake. greet is called after the handshake with the name in the client's certificate, or with what was wrong, which is
// io.EOF for a client that went without a word; its error ends it, too.
func Terminate(client, inner HalfCloser, config *tls.Config, greet func(name string, err error) error) {
	defer inner.Close()
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	heard := &listener{Conn: client}
	conn := tls.Server(heard, config)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.Copy(impatient{conn}, inner)
		cancel() // the handshake, if it is still under way
		_ = conn.CloseWrite()
		_ = client.SetReadDeadline(time.Now().Add(lastWords))
	}()
	err := conn.HandshakeContext(ctx)
	name := ""
	switch {
	case err == nil:
		name = nameOf(conn.ConnectionState().PeerCertificates[0])
	case errors.Is(err, io.EOF) && heard.something:
		err = io.ErrUnexpectedEOF
	}
	if greet(name, err) != nil || err != nil {
		return
	}
	if _, err := io.Copy(inner, conn); err != nil || inner.CloseWrite() != nil {
		return // closing inner ends the other direction
	}
	<-sent
	_ = conn.Close()
}

// listener knows whether the client has said anything.
type listener struct {
	net.Conn
	something bool
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.something = l.something || n > 0
	return n, err
}

// impatient gives up on a client that does not read.
type impatient struct{ *tls.Conn }

func (i impatient) Write(p []byte) (int, error) {
	_ = i.SetWriteDeadline(time.Now().Add(unread))
	return i.Conn.Write(p)
}

// nameOf is what a certificate calls its owner: the subject's common name, else the first of the alternative names.
func nameOf(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	}
	return c.Subject.String()
}

// Why is what a failed handshake means to the one who reads the port's log.
func Why(err error) string {
	var record tls.RecordHeaderError
	var invalid *tls.CertificateVerificationError
	switch {
	case errors.As(err, &record):
		return "it does not speak TLS, which this port wants; use `kubectl envoyshim connect --tls-dir`"
	case isAlert(err):
		return "the client refuses: " + err.Error()
	case errors.As(err, &invalid):
		return "the client's certificate is refused: " + invalid.Err.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "it ended during the TLS handshake"
	}
	return err.Error()
}
