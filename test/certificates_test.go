package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs certificates for one test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate for a new key; its own when the authority has none yet.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(a.t, err)
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	signer, signerKey := a.cert, a.key
	if signer == nil {
		signer, signerKey = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer, &key.PublicKey, signerKey)
	must(a.t, err)
	made, err := x509.ParseCertificate(der)
	must(a.t, err)
	return made, key
}

// dir makes a directory with the files of one side, which every uid may read, for the name and the addresses of this machine that the
// tests use. change, if not nil, has a say in the certificate.
func (a *authority) dir(name string, change func(*x509.Certificate)) string {
	a.t.Helper()
	dir := filepath.Join(sharedDir(a.t), name)
	must(a.t, os.Mkdir(dir, 0o755))
	a.fill(dir, name, change)
	return dir
}

// fill writes the files into a directory.
func (a *authority) fill(dir, name string, change func(*x509.Certificate)) {
	a.t.Helper()
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name + ".test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(farAddress)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(c)
	}
	made, key := a.sign(c)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(a.t, err)
	writePEM(a.t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", a.cert.Raw)
	writePEM(a.t, filepath.Join(dir, "tls.crt"), "CERTIFICATE", made.Raw)
	writePEM(a.t, filepath.Join(dir, "tls.key"), "PRIVATE KEY", der)
}

// writePEM replaces a file, as Kubernetes does, in one step.
func writePEM(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
	must(t, os.Rename(path+".new", path))
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
