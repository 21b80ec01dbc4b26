//go:build delve

package delve

import _ "embed"

// carried is the server, compressed: `make build` puts it there.
//
//go:embed server.gz
var carried []byte
