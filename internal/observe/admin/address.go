package admin

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// CheckAddress tells whether that can be an address of an admin port, as a user gives it: HOST:PORT, the path of a Unix socket, or "@" and a name;
// "" has it looked for.
func CheckAddress(address string) error {
	if address == "" || strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") {
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || strings.Contains(host, "/") {
		return fmt.Errorf("%q is no address of an admin port: HOST:PORT, as 127.0.0.1:15000, or the path of a Unix socket", address)
	}
	return nil
}
