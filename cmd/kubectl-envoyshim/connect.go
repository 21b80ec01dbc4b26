package main

import (
	"net"

	"github.com/envoyshim/envoyshim/internal/command"
	"github.com/envoyshim/envoyshim/internal/connect"
	"github.com/envoyshim/envoyshim/internal/mtls"
)

type connectCommand struct {
	Listen     string `name:"listen" default:"127.0.0.1:2159" placeholder:"ADDR" help:"HOST:PORT for debuggers on this machine (${default})."`
	TLSDir     string `name:"tls-dir" placeholder:"DIR" complete:"file" help:"Mutual TLS by ca.crt, tls.crt and tls.key in DIR."`
	ServerName string `name:"server-name" placeholder:"NAME" help:"The name that the port's certificate must be for; else HOST."`
	Exec       string `name:"exec" placeholder:"CMD" help:"Carry each debugger by a command's standard input and output, as 'kubectl exec -i POD -c istio-proxy -- envoyshim stdio'."`
	Address    string `arg:"" optional:"" name:"host:port" help:"The debug port."`
}

func (c *connectCommand) Run(s *command.Streams) error {
	var open connect.Open
	var err error
	switch {
	case (c.Exec == "") == (c.Address == ""):
		return command.Usage("name either HOST:PORT or --exec")
	case c.Exec != "" && c.TLSDir != "", c.ServerName != "" && c.TLSDir == "":
		return command.Usage("--tls-dir and --server-name are for HOST:PORT, together")
	case c.TLSDir != "":
		open, err = mtls.Dial(c.Address, c.TLSDir, c.ServerName)
	case c.Exec != "":
		open, err = connect.Command(c.Exec, s.Err)
	default:
		if _, _, err := net.SplitHostPort(c.Address); err != nil {
			return command.Usage("%w", err)
		}
		open = connect.TCP(c.Address)
	}
	if err != nil {
		return err
	}
	return connect.Run(c.Listen, open, s.Out, s.Err)
}
