package mtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// patience only ends a test that would hang.
const patience = 30 * time.Second

// oneForBoth makes a directory for server and client: a certificate that has signed itself.
func oneForBoth(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "both"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		caFile: {Type: "CERTIFICATE", Bytes: der}, certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pair is two ends of a TCP connection.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{dialled, accepted} {
		_ = c.SetDeadline(time.Now().Add(patience))
		t.Cleanup(func() { _ = c.Close() })
	}
	return dialled.(*net.TCPConn), accepted.(*net.TCPConn)
}

// terminated is a client of a terminator.
type terminated struct {
	raw   *net.TCPConn // below its TLS
	tls   *tls.Conn
	clear *net.TCPConn // what the terminator makes of it
	name  string
	err   error         // of the handshake
	done  chan struct{} // the terminator has returned
}

func terminate(t *testing.T) *terminated {
	t.Helper()
	dir := oneForBoth(t)
	config, err := Server(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := load(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &terminated{done: make(chan struct{})}
	var server, inner *net.TCPConn
	c.raw, server = pair(t)
	c.clear, inner = pair(t)
	c.tls = tls.Client(c.raw, &tls.Config{RootCAs: f.others, ServerName: "localhost", Certificates: []tls.Certificate{f.own}})
	go func() {
		defer close(c.done)
		Terminate(server, inner, config, func(name string, err error) error {
			c.name, c.err = name, err
			return nil
		})
	}()
	return c
}

// ended waits until the terminator has left nothing but what the test holds.
func (c *terminated) ended(t *testing.T) {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatal("the terminator does not end")
	}
	if _, err := c.clear.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Errorf("the side in the clear is open: %v", err)
	}
}

var much = bytes.Repeat([]byte("0123456789abcdef"), 1<<18)

func TestMuchBothWays(t *testing.T) {
	c := terminate(t)
	got := make(chan []byte)
	for _, from := range []struct {
		io.Reader
		to interface {
			io.Writer
			CloseWrite() error
		}
	}{{c.clear, c.tls}, {c.tls, c.clear}} {
		go func() {
			_, _ = from.to.Write(much)
			_ = from.to.CloseWrite()
		}()
		go func() {
			b, _ := io.ReadAll(from)
			got <- b
		}()
	}
	for range 2 {
		if b := <-got; !bytes.Equal(b, much) {
			t.Errorf("%d of %d bytes", len(b), len(much))
		}
	}
	if err := c.raw.Close(); err != nil {
		t.Error(err)
	}
	c.ended(t)
	if c.name != "both" || c.err != nil {
		t.Errorf("greeted %q, %v", c.name, c.err)
	}
}

// A debugger's last word, and the answer to it.
func TestEachDirectionEndsByItself(t *testing.T) {
	c := terminate(t)
	_, _ = c.tls.Write([]byte("D"))
	_ = c.tls.CloseWrite()
	if b, err := io.ReadAll(c.clear); string(b) != "D" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_, _ = c.clear.Write([]byte("OK"))
	_ = c.clear.Close()
	if b, err := io.ReadAll(c.tls); string(b) != "OK" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.raw.Close()
	c.ended(t)
}

// The port closes while the client talks on: the client reads all that was said before.
func TestThePortCloses(t *testing.T) {
	c := terminate(t)
	_, _ = c.tls.Write([]byte("question"))
	if _, err := io.ReadFull(c.clear, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	_, _ = c.clear.Write(much)
	_ = c.clear.CloseWrite()
	if b, err := io.ReadAll(c.tls); !bytes.Equal(b, much) || err != nil {
		t.Errorf("%d of %d bytes, %v", len(b), len(much), err)
	}
	_ = c.clear.Close()
	_ = c.raw.Close()
	c.ended(t)
}

// A connection that breaks is one for the port, too.
func TestTheClientIsReset(t *testing.T) {
	c := terminate(t)
	_, _ = c.tls.Write([]byte("x"))
	if _, err := io.ReadFull(c.clear, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = c.raw.SetLinger(0)
	_ = c.raw.Close()
	c.ended(t)
}

// A client that is killed says no farewell; the port sees that it says nothing more.
func TestTheClientIsKilled(t *testing.T) {
	c := terminate(t)
	_, _ = c.tls.Write([]byte("x"))
	_ = c.raw.Close()
	if b, err := io.ReadAll(c.clear); string(b) != "x" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.clear.Close()
	<-c.done
}

// What is no TLS, after the handshake, ends the connection at once.
func TestTheClientTalksGarbage(t *testing.T) {
	c := terminate(t)
	_, _ = c.tls.Write([]byte("x"))
	if _, err := io.ReadFull(c.clear, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c.raw, "+$?#3f")
	if _, err := io.ReadAll(c.raw); os.IsTimeout(err) {
		t.Error("the client's connection stays open")
	}
	c.ended(t)
}

// Whoever serves the port closes a client that takes too long.
func TestTheHandshakeIsBrokenOff(t *testing.T) {
	c := terminate(t)
	_, _ = c.raw.Write([]byte("\x16\x03\x01"))
	_ = c.clear.Close()
	if _, err := io.ReadAll(c.raw); os.IsTimeout(err) {
		t.Error("the client's connection stays open")
	}
	<-c.done
	if c.err == nil {
		t.Error("the handshake has not failed")
	}
}

// A port probe, and one that goes in the middle.
func TestWithoutAWord(t *testing.T) {
	for words, want := range map[string]error{"": io.EOF, "\x16\x03\x01": io.ErrUnexpectedEOF} {
		c := terminate(t)
		_, _ = io.WriteString(c.raw, words)
		_ = c.raw.Close()
		c.ended(t)
		if !errors.Is(c.err, want) {
			t.Errorf("%q: %v, want %v", words, c.err, want)
		}
	}
}

func TestNameOf(t *testing.T) {
	spiffe, _ := url.Parse("spiffe://cluster.local/ns/a/sa/b")
	for want, c := range map[string]*x509.Certificate{
		"alice":           {Subject: pkix.Name{CommonName: "alice"}, DNSNames: []string{"a.test"}},
		"a.test":          {DNSNames: []string{"a.test", "b.test"}, URIs: []*url.URL{spiffe}},
		spiffe.String():   {URIs: []*url.URL{spiffe}},
		"alice@a.test":    {EmailAddresses: []string{"alice@a.test"}},
		"O=Example Corp.": {Subject: pkix.Name{Organization: []string{"Example Corp."}}},
	} {
		if got := nameOf(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
