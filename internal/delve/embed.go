//go:build carried

package delve

import _ "embed"

// server is the program, compressed: `make build` puts it there.
//
//go:embed server.gz
var server []byte
