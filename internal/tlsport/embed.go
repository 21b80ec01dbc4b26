//go:build carried

package tlsport

import _ "embed"

//go:embed program.gz
var program []byte
