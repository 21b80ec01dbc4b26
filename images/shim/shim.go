package shim

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
)

// ErrNotCarried means that this program was built without them.
var ErrNotCarried = errors.New("this build of kubectl-envoyshim carries no shim; give --shim bin/envoyshim (make build), or use a release build")

// Carried returns the programs by architecture, amd64 and arm64, or ErrNotCarried.
func Carried() (map[string][]byte, error) {
	if len(carried) == 0 {
		return nil, ErrNotCarried
	}
	all := map[string][]byte{}
	for arch, compressed := range carried {
		in, err := gzip.NewReader(bytes.NewReader(compressed))
		if err == nil {
			all[arch], err = io.ReadAll(in)
		}
		if err != nil {
			return nil, fmt.Errorf("unpack the shim for %s: %w", arch, err)
		}
	}
	return all, nil
}
