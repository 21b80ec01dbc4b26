package mtls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/envoyshim/envoyshim/internal/connect"
)

// Dial carries clients to HOST:PORT by mutual TLS 1.3 with the files of dir, which are read again for each. The certificate there must
// lead to ca.crt and be for serverName, or for HOST when that is empty: a DNS name or an IP address among its subject alternative names.
func Dial(address, dir, serverName string) (connect.Open, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q: %w; name HOST:PORT", address, err)
	}
	if serverName == "" {
		serverName = host
	}
	if _, err := load(dir); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (connect.Stream, error) {
		f, err := load(dir)
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", err, connect.ErrFinal)
		}
		ctx, cancel := context.WithTimeout(ctx, connect.DialTime)
		defer cancel()
		dialer := tls.Dialer{Config: &tls.Config{
			MinVersion: tls.VersionTLS13,
			RootCAs:    f.others,
			ServerName: serverName,
			// Whatever authorities the server names: it says why it refuses, instead of missing a certificate.
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &f.own, nil },
		}}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, explain(address, err)
		}
		return &stream{Conn: conn.(*tls.Conn), address: address}, nil
	}, nil
}

// explain says what a handshake's failure means, and whether another try is of use.
func explain(address string, err error) error {
	var invalid *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &invalid):
		return fmt.Errorf("%s: its certificate is %w: %w; is ca.crt that of its signer, and --server-name one of its names?", address, connect.ErrFinal, invalid.Err)
	case errors.As(err, &record):
		return fmt.Errorf("%s: %w: it does not speak TLS; is ENVOYSHIM_TLS_DIR set there?", address, connect.ErrFinal)
	case errors.Is(err, io.EOF), errors.As(err, &op) && op.Op == "read":
		return fmt.Errorf("%s: closed in the TLS handshake: it may be in the clear (ENVOYSHIM_TLS_DIR is not set there), or nothing stands behind that port-forward", address)
	case isAlert(err):
		return fmt.Errorf("%s: our certificate is %w: %w", address, connect.ErrFinal, err)
	}
	return fmt.Errorf("%s: %w", address, err)
}

// isAlert reports what the other side has to complain of (RFC 8446, section 6), which crypto/tls tells by this word only.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// stream is a connection. In TLS 1.3 the first Read tells whether the server takes the client's certificate (RFC 8446, section 4.4.2).
type stream struct {
	*tls.Conn
	address string
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if isAlert(err) {
		err = explain(s.address, err)
	}
	return n, err
}
