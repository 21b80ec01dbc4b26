package accesslog

import (
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// readAll reads a log.
func readAll(t testing.TB, format, text string) (*Log, []*Entry, []Problem) {
	t.Helper()
	var entries []*Entry
	var problems []Problem
	l, _, err := New(format, func(e *Entry) { entries = append(entries, e) }, func(p Problem) { problems = append(problems, p) })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Read("", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return l, entries, problems
}

const (
	ofEnvoy = `[2016-04-15T20:17:00.310Z] "POST /api/v1/locations HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80"`
	ofIstio = `[2026-11-22T18:44:00.123Z] "GET /status/503?a=b HTTP/1.1" 503 UC upstream_reset_before_response_started{connection_termination} - "-" 0 95 12 - "-" "curl/7.88.1" "3a1d0b5f-7a53-9c1d-bd4e-0a2a4f7b8c9d" "httpbin:8000" "10.244.0.12:80" outbound|8000||httpbin.demo.svc.cluster.local 10.244.0.9:45678 10.96.12.3:8000 10.244.0.9:55678 - default`
	tcpLine = `[2026-11-22T18:44:01.000Z] "- - -" 0 UF,URX - - "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED" 0 0 3 - "-" "-" "-" "-" "10.1.1.1:5432" outbound|5432||db - 10.2.2.2:5432 10.244.0.9:50000 - -`
)

func TestLinesOfTheDefaults(t *testing.T) {
	log, all, problems := readAll(t, "", ofEnvoy+"\n"+ofIstio+"\n"+tcpLine+"\n")
	if log.Requests != 3 || len(problems) != 0 {
		t.Fatalf("%+v %v", log, problems)
	}
	e := all[0]
	if e.Method != "POST" || e.Path != "/api/v1/locations" || e.Status != 204 || len(e.Flags) != 0 || *e.Duration != 226 || e.Authority != "locations" || e.Host != "tcp://10.0.2.1:80" ||
		e.RequestID != "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" || !e.Time.Equal(time.Date(2016, 4, 15, 20, 17, 0, 310e6, time.UTC)) || e.Failed() {
		t.Errorf("%+v", e)
	}
	e = all[1]
	if e.Status != 503 || e.Flags[0] != "UC" || e.Details != "upstream_reset_before_response_started{connection_termination}" || e.Cluster != "outbound|8000||httpbin.demo.svc.cluster.local" ||
		e.Route != "default" || e.Host != "10.244.0.12:80" || !e.Failed() || e.Offset != int64(len(ofEnvoy)+1) || e.Line != 2 {
		t.Errorf("%+v", e)
	}
	e = all[2]
	if e.Status != 0 || strings.Join(e.Flags, ",") != "UF,URX" || !strings.HasPrefix(e.Failure, "TLS_error") || e.Method != "" || !e.Failed() {
		t.Errorf("%+v", e)
	}
}

// What kubectl, Docker and the container runtimes put before a line, and what stands between.
func TestLinesAmongOthers(t *testing.T) {
	docker, _ := json.Marshal(map[string]string{"log": ofIstio + "\n", "stream": "stdout", "time": "2026-11-22T18:44:00.5Z"})
	half := len(ofIstio) / 2
	lines := []string{
		"[pod/web-0/istio-proxy] " + ofIstio,
		"2026-11-22T18:44:00.123456789Z " + ofIstio,
		"[pod/web-0/istio-proxy] 2026-11-22T18:44:00.123456789Z " + ofIstio,
		"2026-11-22T18:44:00.123456789+01:00 stdout F " + ofIstio,
		"2026-11-22T18:44:00.1Z stdout P " + ofIstio[:half],
		"2026-11-22T18:44:00.2Z stdout F " + ofIstio[half:],
		string(docker),
		"envoy-1  | " + ofEnvoy,
		"web-0 istio-proxy " + ofIstio,
		"Nov 22 18:44:00 host envoy[12]: " + ofEnvoy + "\r",
		"2026-11-22T18:44:00.123456Z\tinfo\txdsproxy\tconnected to upstream XDS server: istiod:15012",
		"[2026-11-22 18:44:00.123][17][info][main] starting main dispatch loop",
		`{"level":"info","time":"2026-11-22T18:44:00Z","scope":"ads","msg":"ADS: new connection"}`,
		"", "some text",
	}
	log, all, problems := readAll(t, "", strings.Join(lines, "\n"))
	if log.Requests != 9 || log.Others != 4 || log.Empty != 1 || len(problems) != 0 {
		t.Errorf("%+v %v", log, problems)
	}
	if all[0].Pod != "web-0/istio-proxy" || all[4].Line != 5 || all[4].Route != "default" || all[5].Line != 7 {
		t.Errorf("%+v", all)
	}
}

// A line that should be one of the access log and is none is counted, with its place, and the rest is read.
func TestUnreadableLines(t *testing.T) {
	long := strings.Replace(ofEnvoy, "/api/v1/locations", "/"+strings.Repeat("x", 3<<20), 1)
	text := strings.Join([]string{ofEnvoy, ofEnvoy[:60], `{"response_code": 503, "response_flags": `, strings.Replace(ofIstio, "503 UC", "many UC", 1), long, `{"a":1} {"b":2}`, ofIstio}, "\n")
	log, all, problems := readAll(t, "", text)
	if log.Requests != 3 || log.Unreadable != 4 || len(all[1].Path) != 3<<20+1 {
		t.Errorf("%+v", log)
	}
	for i, want := range []string{`line 2 (offset 174): column 61: " " should follow: `, "line 3 (offset 235): offset 41: unexpected EOF", `line 4 (offset 277): column 59: %RESPONSE_CODE% should follow: `, "offset 7: more behind the JSON object"} {
		if got := problems[i].String(); !strings.Contains(got, want) {
			t.Errorf("%s\nhas no %s", got, want)
		}
	}
	l, _, err := New("", func(*Entry) {}, func(Problem) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Read("", io.MultiReader(strings.NewReader(ofEnvoy+"\n"+ofEnvoy[:9]), iotest.ErrReader(io.ErrUnexpectedEOF))); err == nil || !strings.Contains(err.Error(), "line ") || l.Requests != 1 {
		t.Errorf("%v, %+v", err, l)
	}
}

func TestFormatStrings(t *testing.T) {
	for _, c := range []struct{ format, line, name, want string }{
		{`%REQ(USER-AGENT)%`, `anything "at" all`, "REQ(USER-AGENT)", `anything "at" all`},
		{`"%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%"`, `"a" "b" "id"`, "REQ(USER-AGENT)", `a" "b`},
		{`%REQ(X-A?X-B):7%|%RESPONSE_CODE%`, `abcdefg|200`, "REQ(X-A?X-B)", "abcdefg"},
		{`100%% %RESPONSE_FLAGS%`, `100% UF,URX`, "RESPONSE_FLAGS", "UF,URX"},
		{`%RESPONSE_CODE%%RESPONSE_FLAGS%`, `503UF`, "RESPONSE_FLAGS", "UF"},
		{`%RESPONSE_CODE%%RESPONSE_FLAGS%`, `200-`, "RESPONSE_CODE", "200"},
		{`%DYNAMIC_METADATA(com.test.my_filter:test_key:inner):5% %FILTER_STATE(a:PLAIN)%`, `{"ab" c d`, "FILTER_STATE(a:PLAIN)", `c d`},
		{`%BYTES_SENT% %CEL(request.headers['x'] == '(y)')%\n`, `12 true`, "CEL(request.headers['x'] == '(y)')", "true"},
		{`%REQUEST_HEADER(:METHOD)% %NEVER_HEARD_OF(x)%`, `GET it`, "NEVER_HEARD_OF(x)", "it"},
		{`%START_TIME(%s.%3f)% %RESPONSE_CODE%`, `1527590590.528 200`, "START_TIME(%s.%3f)", "1527590590.528"},
	} {
		f, err := Compile(c.format)
		if err != nil {
			t.Errorf("%s: %v", c.format, err)
			continue
		}
		e := f.Read(c.line)
		got := "no entry"
		if e != nil {
			for _, field := range e.Fields {
				if field.Name == c.name {
					got = field.Value
				}
			}
		}
		if got != c.want {
			t.Errorf("%s of %s: %s is %q, not %q", c.line, c.format, c.name, got, c.want)
		}
	}
	for format, want := range map[string]string{
		"plain":             "the format has no command operator, as %RESPONSE_FLAGS%",
		"%START_TIME":       "offset 0: \"%START_TIME\" is no command operator: %NAME%, %NAME(ARGUMENT)% or %NAME(ARGUMENT):LENGTH%; a percent sign itself is %%",
		"a\n%PROTOCOL%":     "a format of several lines cannot be read line by line: give the line with the response flags",
		`{"a": ["x"]}`:      "the format dictionary has no command operator, as %RESPONSE_FLAGS%",
		`{"a": "%x%"}`:      "the format dictionary's a: offset 0: \"%x%\" is no command operator: %NAME%, %NAME(ARGUMENT)% or %NAME(ARGUMENT):LENGTH%; a percent sign itself is %%",
		`{"a": {"b": 3.5}}`: "the format dictionary's a.b is no text with command operators",
	} {
		if _, _, err := New(format, nil, nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v", format, err)
		}
	}
	const blind = "the format has neither %RESPONSE_FLAGS% nor %RESPONSE_CODE%: no line of it tells a failure"
	for format, want := range map[string]string{
		"":                                  "",
		IstioFormat:                         "",
		EnvoyFormat:                         "",
		"%RESPONSE_CODES% %RESPONSE_FLAGS%": "Envoy 1.40 has no command operator %RESPONSE_CODES%; the nearest is %RESPONSE_CODE%",
		"%ZZZZZZZZZZ% %GRPC_STATUS%":        "Envoy 1.40 has no command operator %ZZZZZZZZZZ%",
		"%REQUEST_HEADER(:METHOD)%":         blind,
		`{"a": "%PROTOCOL%"}`:               blind,
		`{"a": "%RESP(grpc-status)%"}`:      "",
	} {
		failed := 0
		l, warnings, err := New(format, func(e *Entry) {
			if e.Failed() {
				failed++
			}
		}, func(Problem) {})
		if err != nil || strings.Join(warnings, "; ") != want {
			t.Errorf("%q: %q, %v", format, warnings, err)
		}
		if want == blind && (l.Read("", strings.NewReader("GET\n")) != nil || failed > 0) {
			t.Errorf("%q: a status that is not told is no failure", format)
		}
	}
	f, err := Compile("%REQ(A)%%REQ(B)%%RESPONSE_CODE% %PROTOCOL%")
	if err != nil || f.Warning != "REQ(A) and REQ(B) and RESPONSE_CODE stand side by side in the format: nothing tells where one ends, so they are read as one" {
		t.Errorf("%v, %v", f, err)
	}
	if e := f.Read("ab200 HTTP/1.1"); e == nil || e.Protocol != "HTTP/1.1" {
		t.Errorf("%+v", e)
	}
}

func TestTimes(t *testing.T) {
	for _, c := range []struct{ format, text, want string }{
		{"", "2026-11-22T18:44:00.123Z", "2026-11-22T18:44:00.123Z"},
		{"%s", "1527590590", "2018-05-29T10:43:10Z"},
		{"%s.%3f", "1527590590.528", "2018-05-29T10:43:10.528Z"},
		{"%s.%9f", "1527590590.528000001", "2018-05-29T10:43:10.528000001Z"},
		{"%Y/%m/%dT%H:%M:%S%z %s", "2018/05/29T12:43:10+0200 1527590590", "2018-05-29T10:43:10Z"},
		{"%d/%b/%Y:%H:%M:%S.%6f %z", "29/May/2018:10:43:10.528000 +0000", "2018-05-29T10:43:10.528Z"},
		{"%a, %e %b %y %I:%M:%S %p", "Tue, 29 May 18 03:43:10 PM", "2018-05-29T15:43:10Z"},
		{"(%F %T)", "(2018-05-29 10:43:10)", "2018-05-29T10:43:10Z"},
		{"%Y %j %H:%M:%E3S", "2018 149 10:43:10.500", "2018-05-29T10:43:10.5Z"},
		{"%H:%M", "10:43", ""},
	} {
		f, err := Compile("at %START_TIME(" + c.format + ")% %RESPONSE_CODE%")
		if c.format == "" {
			f, err = Compile("at %START_TIME% %RESPONSE_CODE%")
		}
		if err != nil {
			t.Fatal(err)
		}
		e := f.Read("at " + c.text + " 200")
		if e == nil || e.Status != 200 {
			t.Errorf("%s: %s is not read", c.format, c.text)
			continue
		}
		got := ""
		if !e.Time.IsZero() {
			got = e.Time.UTC().Format(time.RFC3339Nano)
		}
		if c.want == "" && got != "" && !strings.HasPrefix(got, "1970") || c.want != "" && got != c.want {
			t.Errorf("%s of %s is %s, not %s", c.text, c.format, got, c.want)
		}
	}
}

// Keys of any name, by their names, or by the dictionary.
func TestJSON(t *testing.T) {
	seed := `{"access_log_type":"DownstreamEnd","bytes_received":0,"bytes_sent":438,"downstream_remote_port":54078,"downstream_transport_failure_reason":null,"duration":14,
		"filter_chain_name":"0.0.0.0_9080","grpc_status":null,"method":"GET","path":"/foo/1","protocol":"HTTP/1.1","response_code":200,"response_flags":"-","start_time":"2025-01-18T13:39:50.094Z",
		"trace_id":"d34ea2aa01d34d0fda79c6d09b097a83","traceparent":"00-d34ea2aa01d34d0fda79c6d09b097a83-fd0eae41e95a263c-01","upstream_host":"10.244.5.8:9080","user_agent":"curl/8.7.1","x_forwarded_for":null}`
	for _, c := range []struct{ format, line, want string }{
		{"", strings.ReplaceAll(seed, "\n", ""), "2025-01-18T13:39:50.094Z GET /foo/1 200 [] 10.244.5.8:9080 14 w3c d34ea2aa01d34d0fda79c6d09b097a83"},
		{"", `{"request":{"method":"PUT","path":"/x","id":"1"},"response":{"code":"503","flags":"UF,URX","code_details":"d"},"upstream":{"host":"h:1"},"@timestamp":"2025-01-18T13:39:50Z"}`, "2025-01-18T13:39:50Z PUT /x 503 [UF URX] h:1"},
		{"", `{"responseFlags":"UpstreamConnectionFailure","requestMethod":"GET","statusCode":503}`, "GET 503 [UF]"},
		{`{"x":"%RESPONSE_FLAGS%","y":{"z":["%RESPONSE_CODE%","%REQ(:PATH)%"]},"w":"at %UPSTREAM_HOST% after %DURATION%ms"}`, `{"x":"UH","y":{"z":[503,"/p"]},"w":"at 1.2.3.4:5 after 7ms"}`, "/p 503 [UH] 1.2.3.4:5 7"},
		{"accessLogFormat: x\njson_format:\n  x: '%RESPONSE_FLAGS%'\n  c: '%RESPONSE_CODE%'\n", `{"x":"UH","c":"503"}`, "503 [UH]"},
		{"", `{"msg":"listening","port":80,"status":"ok"}`, ""},
	} {
		_, all, problems := readAll(t, c.format, c.line)
		got := ""
		for _, e := range all {
			var words []string
			if !e.Time.IsZero() {
				words = append(words, e.Time.Format(time.RFC3339Nano))
			}
			words = append(words, e.Method, e.Path, fmt.Sprint(e.Status, " ", e.Flags), e.Host)
			if e.Duration != nil {
				words = append(words, fmt.Sprint(*e.Duration))
			}
			if e.Trace != nil {
				words = append(words, e.Trace.System, e.Trace.TraceID)
			}
			got = strings.Join(strings.Fields(strings.Join(words, " ")), " ")
		}
		if got != c.want || len(problems) != 0 {
			t.Errorf("%s\n got %s %v\nwant %s", c.line, got, problems, c.want)
		}
	}
}

func TestTraces(t *testing.T) {
	yes, no := truth(true), truth(false)
	for _, c := range []struct {
		fields map[string]string
		want   *Trace
	}{
		{map[string]string{"traceparent": "00-d34ea2aa01d34d0fda79c6d09b097a83-fd0eae41e95a263c-01"}, &Trace{"w3c", "d34ea2aa01d34d0fda79c6d09b097a83", "fd0eae41e95a263c", yes}},
		{map[string]string{"traceparent": "00-d34ea2aa01d34d0fda79c6d09b097a83-fd0eae41e95a263c-00"}, &Trace{"w3c", "d34ea2aa01d34d0fda79c6d09b097a83", "fd0eae41e95a263c", no}},
		{map[string]string{"any": "00-d34ea2aa01d34d0fda79c6d09b097a83-fd0eae41e95a263c-01"}, &Trace{"w3c", "d34ea2aa01d34d0fda79c6d09b097a83", "fd0eae41e95a263c", yes}},
		{map[string]string{"traceparent": "00-00000000000000000000000000000000-fd0eae41e95a263c-01"}, nil},
		{map[string]string{"b3": "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90"}, &Trace{"b3", "80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1", yes}},
		{map[string]string{"b3": "64fe8b2a57d3eff7-e457b5a2e4d86bd1"}, &Trace{"b3", "64fe8b2a57d3eff7", "e457b5a2e4d86bd1", nil}},
		{map[string]string{"x-b3-traceid": "463ac35c9f6413ad", "x-b3-spanid": "a2fb4a1d1a96d312", "x-b3-sampled": "0"}, &Trace{"b3", "463ac35c9f6413ad", "a2fb4a1d1a96d312", no}},
		{map[string]string{"x-b3-traceid": "463ac35c9f6413ad", "x-b3-flags": "1"}, &Trace{"b3", "463ac35c9f6413ad", "", yes}},
		{map[string]string{"x-amzn-trace-id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"}, &Trace{"x-ray", "1-5759e988-bd862e3fe1be46a994272793", "53995c3f42cd8ad8", yes}},
		{map[string]string{"any": "Self=1-67891234-12456789abcdef012345678;Root=1-5759e988-bd862e3fe1be46a994272793"}, &Trace{"x-ray", "1-5759e988-bd862e3fe1be46a994272793", "", nil}},
		{map[string]string{"x-datadog-trace-id": "7277407061855694839", "x-datadog-parent-id": "5", "x-datadog-sampling-priority": "-1"}, &Trace{"datadog", "7277407061855694839", "5", no}},
		{map[string]string{"trace_id": "d34ea2aa01d34d0fda79c6d09b097a83"}, &Trace{"envoy", "d34ea2aa01d34d0fda79c6d09b097a83", "", nil}},
		{map[string]string{"b3": "0"}, nil},
	} {
		c.fields["response_flags"] = "-"
		line, _ := json.Marshal(c.fields)
		_, all, _ := readAll(t, "", string(line))
		if len(all) != 1 || !reflect.DeepEqual(all[0].Trace, c.want) {
			t.Errorf("%s: %v", line, all[0].Trace)
		}
	}
}

func TestReport(t *testing.T) {
	r := &Report{}
	text := strings.Repeat(ofIstio+"\n", 5) + ofEnvoy + "\n" + tcpLine + "\n" + strings.Replace(ofIstio, "UC", "XX", 1) + "\n" + ofIstio[:70] + "\n"
	l, _, err := New("", func(e *Entry) { r.Add(e) }, r.Problem)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Read("a.log", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r.Print(&out, l)
	for _, want := range []string{
		"7 of 8 requests failed, 2016-04-15T20:17:00.310Z to 2026-11-22T18:44:01.000Z; 1 line could not be read\n",
		"\nUC 503: 5 requests\n  UC, UpstreamConnectionTermination: ", "    fault: upstream; usual status 503\n    look at: cluster.NAME.",
		"  5 x route default, cluster outbound|8000||httpbin.demo.svc.cluster.local, host 10.244.0.12:80, upstream_reset_before_response_started{connection_termination}; 2026-11-22T18:44:00.123Z to 2026-11-22T18:44:00.123Z\n",
		"      a.log:3: 2026-11-22T18:44:00.123Z, GET httpbin:8000/status/503?a=b, 12 ms, request 3a1d0b5f-7a53-9c1d-bd4e-0a2a4f7b8c9d\n",
		"\nXX 503: 1 request\n  XX, XX: no flag of Envoy 1.40", "\nUF,URX: 1 request\n", "\nCould not be read:\n  a.log, line 9 (offset ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if s := r.Summary(l); s.Failed != 7 || len(s.Groups) != 3 || len(s.Groups[0].Examples) != 3 || len(s.Flags) != 4 {
		t.Errorf("%+v", s)
	}
}

// What a client chose is printed on one line, and moves no cursor.
func TestReportOfEvilNames(t *testing.T) {
	r := &Report{}
	const evil = `\u001b]0;x\u0007\n`
	line := `{"method":"GET","path":"` + evil + `","response_code":503,"response_flags":"` + evil + `","route_name":"` + evil + `","request_id":"` + evil + `","x-b3-traceid":"` + evil + `"}`
	l, _, err := New("", func(e *Entry) { r.Add(e) }, r.Problem)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Read("", strings.NewReader(line)); err != nil || l.Requests != 1 {
		t.Fatal(err, l)
	}
	var out strings.Builder
	r.Print(&out, l)
	if strings.ContainsAny(out.String(), "\x1b\x07") || strings.Count(out.String(), "]0;x") != 7 || strings.Count(out.String(), "\n") != 7 {
		t.Errorf("%q", out.String())
	}
}

// Whatever lines come: each is counted once, none stops the reading, and what was read before and after stays.
func FuzzLines(f *testing.F) {
	f.Add("", ofEnvoy+"\n"+ofIstio+"\n{}")
	f.Add(`%START_TIME(%s.%3f)% %REQ(A?B):5%%RESPONSE_FLAGS%`, "1.234 xUF")
	f.Add(`{"a":"%RESPONSE_FLAGS%","b":["%START_TIME%"]}`, `{"a":"UF","b":["x"]}`)
	f.Add("[%START_TIME(%b (%e%%)%j%p%Ez)%] %PROTOCOL%", "2026-11-22T18:44:00.1Z stdout P a")
	f.Fuzz(func(t *testing.T, format, text string) {
		entries := 0
		l, _, err := New(format, func(e *Entry) {
			entries++
			_, _ = e.String(), e.Failed()
			if _, err := json.Marshal(e); err != nil {
				t.Error(err)
			}
		}, func(p Problem) { _ = p.String() })
		if err != nil {
			return
		}
		if err := l.Read("", strings.NewReader(ofIstio+"\n"+text+"\n"+ofEnvoy+"\n")); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(text, "\n") + 3
		if n := l.Requests + l.Unreadable + l.Others + l.Empty; n > lines || l.Requests != entries {
			t.Errorf("%+v of %d lines", l, lines)
		}
		if format == "" && !strings.Contains(text, " P ") && !strings.Contains(text, " P:") && !strings.Contains(text, `{"log":`) && entries < 2 {
			t.Errorf("%+v: the lines around are lost", l)
		}
	})
}
