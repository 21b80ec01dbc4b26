package accesslog

import (
	"encoding/json"
	"regexp"
	"strings"
)

// What stands before a line of a container's log.
var (
	ofKubectl = regexp.MustCompile(`^\[((?:pod/)?[^/\s\]]+/[^\s\]]+)\] `)                                                           // kubectl logs --prefix
	ofRuntime = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) (stdout|stderr) ([FP])(?::\S*)? `) // a file of the CRI
	ofTime    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d) `)                                 // kubectl logs --timestamps, docker logs -t
	ofCompose = regexp.MustCompile(`^([\w.-]+)\s+\| `)                                                                              // docker compose logs
	begins    = regexp.MustCompile(`\[\d{4}-\d\d-\d\dT|\{\s*"`)                                                                     // a line of the defaults, or of JSON
)

// beforeBegin is how far into a line it is looked for.
const beforeBegin = 300

// A bare line is one without what kubectl and runtimes put before it.
type bare struct {
	text    string
	pod     string
	partial bool // more of the line comes with the next
}

// strip takes off what is known.
func strip(line string) bare {
	b := bare{text: line}
	if strings.HasPrefix(line, `{"log":`) {
		var file struct {
			Log  *string `json:"log"`
			Time string  `json:"time"`
		}
		if json.Unmarshal([]byte(line), &file) == nil && file.Log != nil && file.Time != "" { // docker's json-file
			b.text = strings.TrimSuffix(*file.Log, "\n")
			b.partial = b.text == *file.Log
			return b
		}
	}
	if found := ofKubectl.FindStringSubmatch(b.text); found != nil {
		b.pod = strings.TrimPrefix(found[1], "pod/")
		b.text = b.text[len(found[0]):]
	} else if found := ofCompose.FindStringSubmatch(b.text); found != nil {
		b.pod = found[1]
		b.text = b.text[len(found[0]):]
	}
	if found := ofRuntime.FindStringSubmatch(b.text); found != nil {
		b.text = b.text[len(found[0]):]
		b.partial = found[2] == "P"
	} else if found := ofTime.FindString(b.text); found != "" {
		b.text = b.text[len(found):]
	}
	return b
}

// further is the rest of a line from where one of the defaults, or JSON, seems to begin; "" where it does not. Other programs have their own prefixes.
func further(line string) string {
	at := begins.FindStringIndex(line[:min(len(line), beforeBegin)])
	if at == nil || at[0] == 0 {
		return ""
	}
	return line[at[0]:]
}
