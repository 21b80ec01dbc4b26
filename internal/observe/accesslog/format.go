package accesslog

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// The default formats. Envoy's calls its operators REQUEST_HEADER and RESPONSE_HEADER by now, which are REQ and RESP. Istio's is that of its
// versions from 1.9 on.
const (
	EnvoyFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
		`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
		`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"`
	IstioFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% ` +
		`%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" ` +
		`%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ` +
		`"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ` +
		`%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%`
)

// An operator is a command operator of a format string: %NAME(ARGUMENT):LENGTH%.
type operator struct {
	name     string // REQ for REQUEST_HEADER, and so on
	argument string
	length   string
}

func (o operator) String() string {
	text := o.name
	if o.argument != "" {
		text += "(" + o.argument + ")"
	}
	return text
}

// shorter are the names by which an operator is known that has two.
var shorter = map[string]string{"REQUEST_HEADER": "REQ", "RESPONSE_HEADER": "RESP", "RESPONSE_TRAILER": "TRAILER", "UPSTREAM_CLUSTER_RAW": "UPSTREAM_CLUSTER"}

// A piece of a format is text, or an operator.
type piece struct {
	text string
	operator
}

var command = regexp.MustCompile(`^%([A-Z0-9_]+)(?:\((.*?)\))?(?::(\d+))?%`)

// pieces takes a format string apart.
func pieces(format string) ([]piece, error) {
	var all []piece
	text := ""
	flush := func() {
		if text != "" {
			all = append(all, piece{text: text})
			text = ""
		}
	}
	for i := 0; i < len(format); {
		switch rest := format[i:]; {
		case strings.HasPrefix(rest, "%%"):
			text += "%"
			i += 2
		case rest[0] == '%':
			found := command.FindStringSubmatch(rest)
			if found == nil {
				return nil, fmt.Errorf("offset %d: %.30q is no command operator: %%NAME%%, %%NAME(ARGUMENT)%% or %%NAME(ARGUMENT):LENGTH%%; a percent sign itself is %%%%", i, rest)
			}
			flush()
			name := found[1]
			if s, ok := shorter[name]; ok {
				name = s
			}
			all = append(all, piece{operator: operator{name, found[2], found[3]}})
			i += len(found[0])
		default:
			text += rest[:1]
			i++
		}
	}
	flush()
	return all, nil
}

// A Format reads the lines that Envoy writes by a format string.
type Format struct {
	Warning string // what of the lines cannot be told apart; ""

	strict, loose *regexp.Regexp
	fields        []field
	head          *regexp.Regexp // what begins a line of this format for sure; nil when nothing does
	pieces        []piece
	begins        func() []*regexp.Regexp // beginsOf pieces; made for the first line that does not fit
}

// field is what one group of the expressions captures.
type field struct {
	name  string // of the operator; several that cannot be told apart are one field
	clock *clock // of START_TIME and the like
}

// Compile makes a Format of a format string, as it stands in Envoy's configuration: its end of line may be there, as such or as \n.
func Compile(format string) (*Format, error) {
	format = strings.ToValidUTF8(strings.TrimRight(strings.TrimSuffix(strings.TrimRight(format, "\r\n"), `\n`), "\r\n"), "\uFFFD")
	if strings.Contains(format, "\n") {
		return nil, errors.New("a format of several lines cannot be read line by line: give the line with the response flags")
	}
	all, err := pieces(format)
	if err != nil {
		return nil, err
	}
	f := &Format{pieces: all, begins: sync.OnceValue(func() []*regexp.Regexp { return beginsOf(all) })}
	var strict, loose strings.Builder
	for i := 0; i < len(all); i++ {
		p := all[i]
		if p.name == "" {
			strict.WriteString(regexp.QuoteMeta(p.text))
			loose.WriteString(regexp.QuoteMeta(p.text))
			continue
		}
		k := p.kind()
		name := p.String()
		for i+1 < len(all) && all[i+1].name != "" && !k.endsBefore(all[i+1].kind()) {
			i++
			name += " " + all[i].String()
			k = kind{strict: `.*?`, loose: `.*?`}
		}
		if name != p.String() {
			f.Warning = fmt.Sprintf("%s stand side by side in the format: nothing tells where one ends, so they are read as one", strings.ReplaceAll(name, " ", " and "))
		}
		fmt.Fprintf(&strict, "(%s)", k.strict)
		fmt.Fprintf(&loose, "(%s)", k.loose)
		f.fields = append(f.fields, field{name, k.clock})
	}
	if len(f.fields) == 0 {
		return nil, errors.New("the format has no command operator, as %RESPONSE_FLAGS%")
	}
	if f.strict, err = regexp.Compile(`^(?s:` + strict.String() + `)$`); err != nil {
		return nil, fmt.Errorf("the format is too large: %w", err)
	}
	if f.loose, err = regexp.Compile(`^(?s:` + loose.String() + `)$`); err != nil {
		return nil, fmt.Errorf("the format is too large: %w", err)
	}
	f.head, err = headOf(all)
	return f, err
}

// headOf matches the beginning of a format's lines to the first text behind an operator, if that can be told from other logs' lines: a time does.
func headOf(all []piece) (*regexp.Regexp, error) {
	var expression strings.Builder
	timed := false
	for _, p := range all {
		if p.name == "" {
			expression.WriteString(regexp.QuoteMeta(p.text))
			if timed {
				return regexp.Compile(`^` + expression.String())
			}
			continue
		}
		k := p.kind()
		if k.clock == nil {
			return nil, nil
		}
		timed = true
		expression.WriteString(`(?:` + strings.TrimSuffix(k.strict, orNone) + `)`)
	}
	return nil, nil
}

// where says how far a line fits, in bytes, and what should follow there.
func (f *Format) where(line string) (int, string) {
	for n, begin := range slices.Backward(f.begins()) {
		if at := begin.FindStringIndex(line); at != nil {
			next := f.pieces[n+1]
			if next.name == "" {
				return at[1], fmt.Sprintf("%q", next.text)
			}
			return at[1], "%" + next.String() + "%"
		}
	}
	return 0, "the format's beginning"
}

// beginsOf match the first piece of a format, the first two, and so on, but all.
func beginsOf(all []piece) []*regexp.Regexp {
	var begins []*regexp.Regexp
	var expression strings.Builder
	for _, p := range all[:len(all)-1] {
		if p.name == "" {
			expression.WriteString(regexp.QuoteMeta(p.text))
		} else {
			expression.WriteString(`(?:` + strings.TrimSuffix(p.kind().strict, `|`) + `)`) // here something should be
		}
		re, err := regexp.Compile(`^(?s:` + expression.String() + `)`)
		if err != nil {
			break
		}
		begins = append(begins, re)
	}
	return begins
}

// Read reads a line without its end. It returns nil where the line is none of this format.
func (f *Format) Read(line string) *Entry {
	at := f.strict.FindStringSubmatchIndex(line)
	if at == nil {
		at = f.loose.FindStringSubmatchIndex(line)
	}
	if at == nil {
		return nil
	}
	e := newEntry()
	for i, field := range f.fields {
		value := line[at[2*i+2]:at[2*i+3]]
		e.set(field.name, value)
		if field.clock != nil && e.Time.IsZero() {
			e.Time, _ = field.clock.time(value)
		}
	}
	e.finish()
	return e
}

// A kind of operator is what its values look like: in strict first, then in loose, where text may be anything.
type kind struct {
	strict, loose string
	clock         *clock
}

const (
	number    = `-?\d+|-|`
	word      = `[^\s"]*`
	flagNames = `[A-Za-z][A-Za-z0-9_,]*|-|`
	protocol  = `HTTP/\d(?:\.\d)?|-|`
)

var (
	numbers   = regexp.MustCompile(`^(RESPONSE_CODE|GRPC_STATUS_NUMBER|CONNECTION_ID|UPSTREAM_CONNECTION_ID|UPSTREAM_REQUEST_ATTEMPT_COUNT|.*_PORT|.*BYTES.*|.*DURATION|UPSTREAM_CONNECTION_POOL_READY_DURATION)$`)
	words     = regexp.MustCompile(`^(UPSTREAM_HOST|UPSTREAM_CLUSTER|.*_ADDRESS|.*_ADDRESS_WITHOUT_PORT|RESPONSE_CODE_DETAILS|CONNECTION_TERMINATION_DETAILS|REQUESTED_SERVER_NAME|TRACE_ID|SPAN_ID|STREAM_ID|HOSTNAME|ACCESS_LOG_TYPE|PATH|.*_TLS_VERSION|.*_TLS_CIPHER|.*FINGERPRINT.*|.*_SERIAL|UPSTREAM_PROTOCOL)$`)
	wordHeads = regexp.MustCompile(`^(:METHOD|:PATH|:AUTHORITY|:SCHEME|HOST|X-REQUEST-ID|TRACEPARENT|B3|X-B3-.*|X-ENVOY-ORIGINAL-PATH.*|X-ENVOY-UPSTREAM-SERVICE-TIME|X-DATADOG-.*|X-AMZN-TRACE-ID)$`)
)

func (o operator) kind() kind {
	free := kind{strict: `.*?`, loose: `.*?`}
	header := o.name == "REQ" || o.name == "RESP" || o.name == "TRAILER"
	switch {
	case o.name == "START_TIME" || o.name == "START_TIME_LOCAL" || o.name == "EMIT_TIME" || o.name == "EMIT_TIME_LOCAL":
		c := newClock(o.argument)
		return kind{strict: c.expression, loose: c.expression, clock: c}
	case o.name == "RESPONSE_FLAGS" || o.name == "RESPONSE_FLAGS_LONG":
		return kind{strict: flagNames, loose: flagNames}
	case o.name == "PROTOCOL":
		return kind{strict: protocol, loose: protocol}
	case numbers.MatchString(o.name) && o.argument == "":
		return kind{strict: number, loose: number}
	case words.MatchString(o.name), header && wordHeads.MatchString(strings.ToUpper(o.argument)):
		return kind{strict: word, loose: `.*?`}
	case header && strings.EqualFold(o.argument, "X-FORWARDED-FOR"):
		return kind{strict: `[^"]*?`, loose: `.*?`}
	}
	return free
}

// endsBefore says whether a value of this kind can be told from one of the next that follows it at once.
func (k kind) endsBefore(next kind) bool {
	return k.clock != nil && k.clock.exact || k.strict == number && (next.strict == flagNames || next.strict == protocol)
}
