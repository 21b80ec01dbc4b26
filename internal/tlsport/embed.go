//go:build tls

package tlsport

import _ "embed"

//go:embed program.gz
var program []byte
