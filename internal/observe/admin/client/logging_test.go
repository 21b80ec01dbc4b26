//go:build linux

package client

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/envoyshim/envoyshim/internal/observe/admin"
)

// A port of Envoy's data plane names the same server, and what is POSTed there may go to somebody.
func TestLoggingIsAskedOfAdminPortsOnly(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		w.Header().Set("Server", "envoy")
		w.WriteHeader(http.StatusNotFound)
	}))
	defer s.Close()
	address := s.Listener.Addr().String()
	got := new(asked).answer(admin.Request{Op: admin.OpLogging, Address: address})
	if want := address + " answers 404 to /server_info: it is no admin port of Envoy"; got.Error != want {
		t.Errorf("%q, want %q", got.Error, want)
	}
}
