package accesslog

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Entry is what one line tells: of a request, or of a connection (TCP).
type Entry struct {
	Source string    `json:"source,omitempty"` // the file
	Line   int       `json:"line"`             // from 1 on
	Offset int64     `json:"offset"`           // of the line in the source, bytes
	Pod    string    `json:"pod,omitempty"`    // and container, where `kubectl logs --prefix` tells them
	Time   time.Time `json:"time,omitzero"`

	Method    string   `json:"method,omitempty"`
	Authority string   `json:"authority,omitempty"`
	Path      string   `json:"path,omitempty"`
	Protocol  string   `json:"protocol,omitempty"`
	Status    int      `json:"status"` // of HTTP; 0: the response never began, or TCP
	Flags     []string `json:"flags"`  // by their short names, where Envoy has them
	GRPC      string   `json:"grpc_status,omitempty"`

	Details     string `json:"response_code_details,omitempty"`
	Termination string `json:"connection_termination_details,omitempty"`
	Failure     string `json:"upstream_transport_failure_reason,omitempty"`
	Duration    *int   `json:"duration_ms,omitempty"`
	Host        string `json:"upstream_host,omitempty"`
	Cluster     string `json:"upstream_cluster,omitempty"`
	Route       string `json:"route_name,omitempty"`

	RequestID string `json:"request_id,omitempty"`
	Trace     *Trace `json:"trace,omitempty"`

	Fields []Field `json:"fields"` // all that the line has, in its order

	known map[string]string
}

// A Field is one value of a line, by the operator that wrote it, or where that is not known by its key.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

func newEntry() *Entry { return &Entry{known: map[string]string{}, Flags: []string{}} }

// set takes in a value. Envoy writes "-" for none.
func (e *Entry) set(name, value string) {
	e.Fields = append(e.Fields, Field{name, value})
	e.know(name, value)
}

func (e *Entry) know(name, value string) {
	if value == "" || value == "-" {
		return
	}
	key := strings.ToUpper(name)
	if _, ok := e.known[key]; !ok {
		e.known[key] = value
	}
	// Of REQ(A?B) it is not said which it is: both will do.
	if main, other, ok := strings.Cut(key, "?"); ok {
		e.know(main+")", value)
		head, _, _ := strings.Cut(main, "(")
		e.know(head+"("+other, value)
	}
}

func (e *Entry) value(names ...string) string {
	for _, name := range names {
		if v := e.known[name]; v != "" {
			return v
		}
	}
	return ""
}

// finish makes of the values what they mean.
func (e *Entry) finish() {
	e.Method = e.value("REQ(:METHOD)")
	e.Authority = e.value("REQ(:AUTHORITY)", "REQ(HOST)", "REQUESTED_SERVER_NAME")
	e.Path = e.value("REQ(X-ENVOY-ORIGINAL-PATH)", "REQ(:PATH)", "REQ_WITHOUT_QUERY(:PATH)", "PATH")
	e.Protocol = e.value("PROTOCOL")
	e.Status, _ = strconv.Atoi(e.value("RESPONSE_CODE"))
	e.GRPC = e.value("GRPC_STATUS", "GRPC_STATUS(CAMEL_STRING)", "GRPC_STATUS(SNAKE_STRING)", "GRPC_STATUS(NUMBER)", "GRPC_STATUS_NUMBER", "RESP(GRPC-STATUS)", "TRAILER(GRPC-STATUS)")
	if n, ok := number16(e.GRPC); ok {
		e.GRPC = n
	}
	for name := range strings.SplitSeq(e.value("RESPONSE_FLAGS", "RESPONSE_FLAGS_LONG"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			e.Flags = append(e.Flags, FlagNamed(name).Short)
		}
	}
	e.Details = e.value("RESPONSE_CODE_DETAILS")
	e.Termination = e.value("CONNECTION_TERMINATION_DETAILS")
	e.Failure = e.value("UPSTREAM_TRANSPORT_FAILURE_REASON", "DOWNSTREAM_TRANSPORT_FAILURE_REASON")
	if ms, err := strconv.Atoi(e.value("DURATION")); err == nil {
		e.Duration = &ms
	}
	e.Host = e.value("UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS")
	e.Cluster = e.value("UPSTREAM_CLUSTER")
	e.Route = e.value("ROUTE_NAME")
	e.RequestID = e.value("REQ(X-REQUEST-ID)", "STREAM_ID")
	if e.Time.IsZero() {
		e.Time = anyTime(e.value("START_TIME"))
	}
	e.Trace = traceOf(e.Fields, e.value)
}

// grpcNames are the codes of gRPC (google.golang.org/grpc/codes).
var grpcNames = []string{"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied", "ResourceExhausted",
	"FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated"}

func number16(text string) (string, bool) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n >= len(grpcNames) {
		return "", false
	}
	return grpcNames[n], true
}

// anyTime reads a time that says itself how it is written.
func anyTime(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z07:00"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t
		}
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds > 1e8 && seconds < 1e10 {
		return time.UnixMicro(int64(seconds * 1e6)).UTC()
	}
	return time.Time{}
}

// Failed says whether the request went wrong: by a response flag, a status of 500 and more, a response that never began, or a status of gRPC.
// An answer of 4xx without a flag is the upstream's own.
func (e *Entry) Failed() bool {
	if kind := e.value("ACCESS_LOG_TYPE"); kind != "" && !strings.HasSuffix(kind, "End") && len(e.Flags) == 0 {
		return false // it is under way (envoy.data.accesslog.v3.AccessLogType)
	}
	flagged := slices.ContainsFunc(e.Flags, func(name string) bool { return FlagNamed(name).Failed() })
	grpc := e.GRPC != "" && !strings.EqualFold(e.GRPC, "ok") && !strings.EqualFold(e.GRPC, "invalid")
	return flagged || e.Status >= 500 || e.value("RESPONSE_CODE") == "0" && e.Method != "" || grpc
}
