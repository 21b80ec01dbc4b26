package ide

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
)

// Entries of VS Code's launch.json. Their fields stand in the order in which people write them.

// codeLLDB is of the extension vadimcn.vscode-lldb (its MANUAL.md, "Launch configurations", "Remote debugging").
type codeLLDB struct {
	Name                  string    `json:"name"`
	Type                  string    `json:"type"`
	Request               string    `json:"request"`
	InitCommands          []string  `json:"initCommands"`
	TargetCreateCommands  []string  `json:"targetCreateCommands"`
	PreRunCommands        []string  `json:"preRunCommands,omitempty"`
	ProcessCreateCommands []string  `json:"processCreateCommands"`
	StopOnEntry           bool      `json:"stopOnEntry"`
	SourceMap             sourceMap `json:"sourceMap,omitempty"`
}

// lldbDAP is of LLVM's own extension (lldb/tools/lldb-dap/README.md).
type lldbDAP struct {
	Name           string      `json:"name"`
	Type           string      `json:"type"`
	Request        string      `json:"request"`
	Program        string      `json:"program"`
	InitCommands   []string    `json:"initCommands"`
	PreRunCommands []string    `json:"preRunCommands,omitempty"`
	AttachCommands []string    `json:"attachCommands"`
	StopOnEntry    bool        `json:"stopOnEntry"`
	SourceMap      [][2]string `json:"sourceMap,omitempty"` // older ones take pairs only
}

// cppdbg is of Microsoft's C/C++ extension (code.visualstudio.com, "Configure C/C++ debugging").
type cppdbg struct {
	Name          string       `json:"name"`
	Type          string       `json:"type"`
	Request       string       `json:"request"`
	Program       string       `json:"program"`
	CWD           string       `json:"cwd"`
	MIMode        string       `json:"MIMode"`
	Address       string       `json:"miDebuggerServerAddress"`
	StopAtConnect bool         `json:"stopAtConnect"`
	Setup         []gdbCommand `json:"setupCommands"`
	PostConnect   []gdbCommand `json:"postRemoteConnectCommands,omitempty"`
	SourceFileMap sourceMap    `json:"sourceFileMap,omitempty"`
}

// gdbCommand is one whose failure ends no session: an older gdb may not know it, and one may have been built without Python.
type gdbCommand struct {
	Description    string `json:"description,omitempty"`
	Text           string `json:"text"`
	IgnoreFailures bool   `json:"ignoreFailures"`
}

// stopLetsRun makes of the kill that Stop in VS Code means a detach: a killed Envoy takes its container with it. The extension knows no other end
// of a session that it calls a launch, and it calls all sessions at a server so.
var stopLetsRun = gdbCommand{"Stop lets Envoy run on.", `python gdb.execute(chr(10).join(["define kill", "detach", "end"]))`, true}

// sourceMap is an object whose members stay in order: the first that fits counts.
type sourceMap []Mapping

func (m sourceMap) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	for i, one := range m {
		from, err := marshal(one.From)
		if err != nil {
			return nil, err
		}
		to, err := marshal(filepath.ToSlash(one.To))
		if err != nil {
			return nil, err
		}
		out.WriteByte("{,"[min(i, 1)])
		out.Write(from)
		out.WriteByte(':')
		out.Write(to)
	}
	if len(m) == 0 {
		out.WriteByte('{')
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// marshal is JSON with < and > as they are.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), err
}

// Entries returns one for each debug extension.
func (s Session) Entries() []any {
	elf := filepath.ToSlash(s.ELF)
	var pairs [][2]string
	for _, m := range s.SourceMap {
		pairs = append(pairs, [2]string{m.From, filepath.ToSlash(m.To)})
	}
	connect := s.lldbConnect()
	for i := range connect {
		if i != 1 {
			connect[i] = "?" + connect[i] // quietly; an lldb without Python connects all the same
		}
	}
	var setup, post []gdbCommand
	for _, c := range s.gdbFirst() {
		setup = append(setup, gdbCommand{c.why, c.command, true})
	}
	for _, c := range s.gdbBreakpoints() {
		post = append(post, gdbCommand{Text: c, IgnoreFailures: true})
	}
	return []any{
		codeLLDB{
			Name: s.Name + " (CodeLLDB)", Type: "lldb", Request: "attach",
			InitCommands: s.lldbFirst(), TargetCreateCommands: []string{s.lldbTarget()}, PreRunCommands: s.lldbBreakpoints(),
			ProcessCreateCommands: s.lldbConnect(), StopOnEntry: true, SourceMap: s.SourceMap,
		},
		lldbDAP{
			Name: s.Name + " (lldb-dap)", Type: "lldb-dap", Request: "attach", Program: elf,
			InitCommands: s.lldbFirst(), PreRunCommands: s.lldbBreakpoints(), AttachCommands: connect, StopOnEntry: true, SourceMap: pairs,
		},
		cppdbg{
			Name: s.Name + " (gdb, C/C++ extension)", Type: "cppdbg", Request: "launch", Program: elf, CWD: "${workspaceFolder}",
			MIMode: "gdb", Address: s.Port, StopAtConnect: true, Setup: slices.Concat(setup, []gdbCommand{stopLetsRun}), PostConnect: post,
			SourceFileMap: s.SourceMap,
		},
	}
}

// VSCode is a launch.json.
func (s Session) VSCode() ([]byte, error) {
	return indent(struct {
		Version        string `json:"version"`
		Configurations []any  `json:"configurations"`
	}{"0.2.0", s.Entries()}, "")
}

// indent is JSON whose lines but the first begin with a prefix.
func indent(v any, prefix string) ([]byte, error) {
	flat, err := marshal(v)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, flat, prefix, "    ")
	return out.Bytes(), err
}
