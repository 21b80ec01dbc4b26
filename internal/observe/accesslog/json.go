package accesslog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sigs.k8s.io/yaml"
)

// A Dictionary reads lines of JSON. Its formats say by which operators they were written; an empty one goes by the names of the keys.
type Dictionary struct {
	Warning string

	formats map[string]*Format // by path: the keys joined by points
	guessed map[string]string  // the operators of paths that have come
}

// CompileDictionary makes a Dictionary of a format dictionary, as json_format and typed_json_format have it: YAML or JSON.
func CompileDictionary(text string) (*Dictionary, error) {
	var all map[string]any
	if err := yaml.Unmarshal([]byte(text), &all); err != nil {
		return nil, fmt.Errorf("read the format dictionary: %w", err)
	}
	for _, within := range []string{"log_format", "logFormat", "json_format", "jsonFormat", "typed_json_format", "typedJsonFormat", "labels"} {
		if inner, ok := all[within].(map[string]any); ok {
			all = inner // it came with what is around it in Envoy's or Istio's configuration
		}
	}
	d := &Dictionary{formats: map[string]*Format{}}
	for path, value := range leaves("", all) {
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("the format dictionary's %s is no text with command operators", path)
		}
		if !strings.Contains(text, "%") {
			continue // a constant
		}
		f, err := Compile(text)
		if err != nil {
			return nil, fmt.Errorf("the format dictionary's %s: %w", path, err)
		}
		if f.Warning != "" {
			d.Warning = path + ": " + f.Warning
		}
		d.formats[path] = f
	}
	if len(d.formats) == 0 {
		return nil, fmt.Errorf("the format dictionary has no command operator, as %%RESPONSE_FLAGS%%")
	}
	return d, nil
}

// leaves are the values of nested objects and lists, by path, in the order of the paths.
func leaves(path string, value any) func(yield func(string, any) bool) {
	return func(yield func(string, any) bool) { walk(path, value, yield) }
}

func walk(path string, value any, yield func(string, any) bool) bool {
	join := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	switch v := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if !walk(join(key), v[key], yield) {
				return false
			}
		}
		return true
	case []any:
		for i, inner := range v {
			if !walk(join(fmt.Sprint(i)), inner, yield) {
				return false
			}
		}
		return true
	}
	return yield(path, value)
}

// Read reads a line. It returns nil where the JSON is no access log; the error is of JSON that is none.
func (d *Dictionary) Read(line string) (*Entry, error) {
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	var all map[string]any
	if err := decoder.Decode(&all); err != nil {
		return nil, jsonError(err, len(line))
	}
	if rest := strings.TrimSpace(line[decoder.InputOffset():]); rest != "" {
		return nil, fmt.Errorf("offset %d: more behind the JSON object", decoder.InputOffset())
	}
	e := newEntry()
	byFormat, seen := false, map[string]bool{}
	for path, value := range leaves("", all) {
		text := written(value)
		if f := d.formats[path]; f != nil {
			byFormat = true
			if part := f.Read(text); part != nil {
				for _, field := range part.Fields {
					e.set(field.Name, field.Value)
				}
				if e.Time.IsZero() {
					e.Time = part.Time
				}
				continue
			}
		}
		e.Fields = append(e.Fields, Field{path, text})
		if name := d.operatorOf(path); name != "" {
			seen[name] = true
			e.know(name, text)
		}
	}
	if !byFormat && !isAccess(seen) {
		return nil, nil
	}
	e.finish()
	return e, nil
}

// jsonError has the offset of a mistake in its text.
func jsonError(err error, length int) error {
	at := int64(length)
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		at = syntax.Offset
	} else if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		at = wrong.Offset
	}
	return fmt.Errorf("offset %d: %w", at, err)
}

// written is a value as Envoy's text formats write it.
func written(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return fmt.Sprint(value)
}

// isAccess tells an access log from other logs in JSON, as pilot-agent's, by the operators that its keys seem to be of.
func isAccess(seen map[string]bool) bool {
	method, path := seen["REQ(:METHOD)"], seen["REQ(:PATH)"]
	return seen["RESPONSE_FLAGS"] || seen["RESPONSE_FLAGS_LONG"] || seen["RESPONSE_CODE"] && (method || path || seen["START_TIME"]) ||
		method && path || seen["UPSTREAM_HOST"] && seen["START_TIME"]
}

// keys are the names by which operators go in JSON, without what separates words in them.
var keys = map[string][]string{
	"START_TIME":                          {"starttime", "timestamp", "time", "ts"},
	"REQ(:METHOD)":                        {"method", "requestmethod", "reqmethod", "httpmethod", "httprequestmethod", "verb"},
	"REQ(:PATH)":                          {"path", "requestpath", "reqpath", "uri", "uripath", "url", "urlpath", "originalpath", "xenvoyoriginalpath", "httppath"},
	"REQ(:AUTHORITY)":                     {"authority", "requestauthority", "reqauthority", "host", "requesthost", "domain", "httphost"},
	"PROTOCOL":                            {"protocol", "requestprotocol", "httpprotocol"},
	"RESPONSE_CODE":                       {"responsecode", "status", "statuscode", "code", "httpstatus", "responsestatus", "responsestatuscode", "httpresponsestatuscode", "respcode"},
	"RESPONSE_FLAGS":                      {"responseflags", "flags", "envoyresponseflags", "respflags"},
	"RESPONSE_FLAGS_LONG":                 {"responseflagslong"},
	"RESPONSE_CODE_DETAILS":               {"responsecodedetails", "codedetails", "details"},
	"CONNECTION_TERMINATION_DETAILS":      {"connectionterminationdetails", "terminationdetails"},
	"UPSTREAM_TRANSPORT_FAILURE_REASON":   {"upstreamtransportfailurereason", "upstreamfailurereason", "transportfailurereason"},
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON": {"downstreamtransportfailurereason"},
	"GRPC_STATUS":                         {"grpcstatus", "grpcstatuscode"},
	"GRPC_STATUS_NUMBER":                  {"grpcstatusnumber"},
	"DURATION":                            {"duration", "durationms", "totalduration", "requestduration"},
	"UPSTREAM_HOST":                       {"upstreamhost", "upstreamremoteaddress", "upstreamaddress"},
	"UPSTREAM_CLUSTER":                    {"upstreamcluster", "upstreamclusterraw", "cluster"},
	"ROUTE_NAME":                          {"routename", "route"},
	"REQ(X-REQUEST-ID)":                   {"requestid", "xrequestid", "reqid"},
	"REQ(TRACEPARENT)":                    {"traceparent"},
	"REQ(B3)":                             {"b3"},
	"REQ(X-B3-TRACEID)":                   {"xb3traceid", "b3traceid"},
	"REQ(X-B3-SPANID)":                    {"xb3spanid", "b3spanid"},
	"REQ(X-B3-SAMPLED)":                   {"xb3sampled", "b3sampled"},
	"REQ(X-B3-FLAGS)":                     {"xb3flags"},
	"REQ(X-AMZN-TRACE-ID)":                {"xamzntraceid", "amzntraceid", "xraytraceid"},
	"REQ(X-DATADOG-TRACE-ID)":             {"xdatadogtraceid", "ddtraceid"},
	"REQ(X-DATADOG-PARENT-ID)":            {"xdatadogparentid", "ddspanid"},
	"REQ(X-DATADOG-SAMPLING-PRIORITY)":    {"xdatadogsamplingpriority"},
	"TRACE_ID":                            {"traceid", "trace"},
	"SPAN_ID":                             {"spanid", "span"},
}

var operators = func() map[string]string {
	all := map[string]string{}
	for name, words := range keys {
		for _, w := range words {
			all[w] = name
		}
	}
	return all
}()

// mostGuesses is how many paths are remembered: some logs have keys that are values.
const mostGuesses = 10000

func (d *Dictionary) operatorOf(path string) string {
	name, ok := d.guessed[path]
	if !ok {
		name = operatorOf(path)
		if d.guessed == nil || len(d.guessed) == mostGuesses {
			d.guessed = map[string]string{}
		}
		d.guessed[path] = name
	}
	return name
}

// operatorOf guesses the operator of a key: by its whole path, else by its end.
func operatorOf(path string) string {
	letters := func(text string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return unicode.ToLower(r)
			}
			return -1
		}, text)
	}
	for {
		if name, ok := operators[letters(path)]; ok {
			return name
		}
		_, rest, ok := strings.Cut(path, ".")
		if !ok {
			return ""
		}
		path = rest
	}
}
