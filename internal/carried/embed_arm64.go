//go:build carried

package carried

import _ "embed"

// program is the program, compressed: `make build` puts it there.
//
//go:embed program-arm64.zst
var program []byte
