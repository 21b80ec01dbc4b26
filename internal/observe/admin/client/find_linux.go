package client

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/envoyshim/envoyshim/internal/procfs"
)

// istio is the admin port of Istio's proxies (https://istio.io/latest/docs/ops/deployment/application-requirements/).
const istio = "15000"

// find finds the admin port of a process. What its command line says is believed, if it can be read: a configuration in JSON, as pilot-agent's, or the file of
// --admin-address-path. Else all that it listens on is asked, what it is most likely first.
func find(ctx context.Context, pid int) (*port, error) {
	if pid == 0 {
		return nil, errors.New("find the admin port: neither a process nor an address is given")
	}
	if configured := configured(pid); configured != "" {
		return &port{pid, configured}, nil
	}
	listening, err := listening(pid)
	if errors.Is(err, os.ErrPermission) {
		own, _ := procfs.ReadStatus(os.Getpid())
		return nil, fmt.Errorf("find the admin port of process %d: %w: it is another uid's, and CAP_SYS_PTRACE is missing; %s, or name the port by --admin", pid, err, own.Grant())
	} else if err != nil {
		return nil, fmt.Errorf("find the admin port of process %d: %w", pid, err)
	}
	for _, address := range listening {
		p := &port{pid, address}
		if _, err := p.serverInfo(ctx); err == nil {
			return p, nil
		}
	}
	if len(listening) == 0 {
		return nil, fmt.Errorf("find the admin port of process %d: it listens nowhere so far", pid)
	}
	return nil, fmt.Errorf("find the admin port of process %d: it listens on %s, and none of these answers as Envoy's admin port does; --admin names it",
		pid, strings.Join(listening, ", "))
}

// serverInfo asks who it is.
func (p *port) serverInfo(ctx context.Context) (*serverInfo, error) {
	info := new(serverInfo)
	err := p.decode(ctx, "/server_info", info, func(any) {})
	if status := statusError(0); errors.As(err, &status) {
		err = fmt.Errorf("%s answers %d to /server_info: it is no admin port of Envoy", p.address, int(status))
	}
	if err == nil && (info.Version == "" || info.State == "" || info.Options == nil) {
		err = errors.New("that is no Envoy's /server_info")
	}
	return info, err
}

// configured is the address that the command line leads to, or "".
func configured(pid int) string {
	args := procfs.Args(pid)
	if path := option(args, "--admin-address-path"); path != "" {
		if written := contents(seenBy(pid, path)); written != "" {
			return usable(strings.TrimSpace(written))
		}
	}
	// --config-yaml is merged over the file.
	var found string
	file := contents(seenBy(pid, cmp.Or(option(args, "-c"), option(args, "--config-path"))))
	for _, text := range []string{file, option(args, "--config-yaml")} {
		var bootstrap struct {
			Admin struct {
				Address address `json:"address"`
			} `json:"admin"`
		}
		if json.Unmarshal([]byte(text), &bootstrap) == nil {
			found = cmp.Or(bootstrap.Admin.Address.String(), found)
		}
	}
	return usable(found)
}

// contents are a file's, or "". A pipe, as /dev/stdin may be, is not for others to read: it would be waited for.
func contents(path string) string {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, _ := os.ReadFile(path)
	return string(text)
}

// usable is an address to connect to: a listener on all addresses is reached by loopback. "" when the kernel is to choose the port.
func usable(address string) string {
	host, number, err := net.SplitHostPort(address)
	switch {
	case err != nil:
		return address
	case number == "0":
		return ""
	case net.ParseIP(host).IsUnspecified() && strings.Contains(host, ":"):
		host = "::1"
	case net.ParseIP(host).IsUnspecified():
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, number)
}

// option is the value of an option, as the next word or joined by a space (TCLAP takes both).
func option(args []string, name string) string {
	for i, a := range args {
		if a == name && i+1 < len(args) {
			return args[i+1]
		}
		if value, ok := strings.CutPrefix(a, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// seenBy is the path here of a file that a process sees by a path.
func seenBy(pid int, path string) string {
	if filepath.IsAbs(path) {
		return fmt.Sprintf("/proc/%d/root%s", pid, path)
	}
	return fmt.Sprintf("/proc/%d/cwd/%s", pid, path)
}

// listening lists what a process listens on, the likeliest first: 15000, then loopback, then other addresses, then Unix sockets.
func listening(pid int) ([]string, error) {
	listeners, err := procfs.Listening(pid)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, l := range listeners {
		address := l.Address
		if l.Table != "unix" {
			address = usable(tcpAddress(address))
		}
		all = append(all, address)
	}
	rank := func(address string) int {
		host, number, err := net.SplitHostPort(address)
		switch {
		case err != nil:
			return 3
		case number == istio:
			return 0
		case net.ParseIP(host).IsLoopback():
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a, b)) })
	return slices.Compact(all), nil
}

// tcpAddress reads HEX:PORT of /proc/PID/net/tcp, where the address is in words of the machine's byte order, which is little-endian (net/ipv4/tcp_ipv4.c).
func tcpAddress(field string) string {
	host, number, _ := strings.Cut(field, ":")
	ip, _ := hex.DecodeString(host)
	for i := 0; i+4 <= len(ip); i += 4 {
		slices.Reverse(ip[i : i+4])
	}
	n, _ := strconv.ParseUint(number, 16, 16)
	return net.JoinHostPort(net.IP(ip).String(), strconv.FormatUint(n, 10))
}
