//go:build shims

package shim

import _ "embed"

// `make shims` puts them there.
//
//go:embed envoyshim-amd64.gz
var amd64 []byte

//go:embed envoyshim-arm64.gz
var arm64 []byte

var carried = map[string][]byte{"amd64": amd64, "arm64": arm64}
