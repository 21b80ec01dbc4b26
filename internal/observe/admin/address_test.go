package admin_test

import (
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

func TestCheckAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"": true, "127.0.0.1:15000": true, "[::1]:15000": true, "localhost:15000": true, ":15000": true, "/run/admin.sock": true, "@admin": true,
		"foo": false, "127.0.0.1": false, "127.0.0.1:": false, "127.0.0.1:0": false, "127.0.0.1:65536": false, "127.0.0.1:admin": false,
		"http://127.0.0.1:15000": false, "http://127.0.0.1": false,
	} {
		if err := admin.CheckAddress(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
