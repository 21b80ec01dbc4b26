package mtls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// The files of a directory, named as in a Kubernetes secret of type kubernetes.io/tls: the certificates that the other side's must
// lead to, and the own certificate and key, all PEM.
const (
	caFile   = "ca.crt"
	certFile = "tls.crt"
	keyFile  = "tls.key"
)

// files are the contents of such a directory.
type files struct {
	others *x509.CertPool
	own    tls.Certificate
}

// load reads and checks them. An error names the file and the cure.
func load(dir string) (files, error) {
	content := map[string][]byte{}
	for _, name := range []string{caFile, certFile, keyFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return files{}, fmt.Errorf("%w; the directory needs %s, %s and %s, readable by uid %d", err, caFile, certFile, keyFile, os.Getuid())
		}
		content[name] = b
	}
	f := files{others: x509.NewCertPool()}
	if !f.others.AppendCertsFromPEM(content[caFile]) {
		return files{}, fmt.Errorf("%s: no certificate in it; it needs those, as PEM, that signed the other side's", filepath.Join(dir, caFile))
	}
	var err error
	if f.own, err = tls.X509KeyPair(content[certFile], content[keyFile]); err != nil {
		return files{}, fmt.Errorf("%s and %s: %w; they need a certificate and its key, as PEM", filepath.Join(dir, certFile), keyFile, err)
	}
	switch leaf, now := f.own.Leaf, time.Now(); {
	case now.After(leaf.NotAfter):
		return files{}, fmt.Errorf("%s: expired at %s; renew it", filepath.Join(dir, certFile), leaf.NotAfter.Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return files{}, fmt.Errorf("%s: not valid before %s; check the clock", filepath.Join(dir, certFile), leaf.NotBefore.Format(time.RFC3339))
	}
	return f, nil
}
