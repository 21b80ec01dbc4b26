package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// flameProfile is a profile of known content: a start of Envoy, as it might be.
func flameProfile() *profile.Profile {
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, {Type: "cpu", Unit: "nanoseconds"}, {Type: "offcpu", Unit: "nanoseconds"}},
		PeriodType: &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}, Period: 1e6, DefaultSampleType: "cpu", TimeNanos: 1789000000e9, DurationNanos: 2.5e9,
	}
	mappings := map[string]*profile.Mapping{}
	for i, file := range []string{"/usr/local/bin/envoy", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2", "[kernel.kallsyms]_text"} {
		m := &profile.Mapping{ID: uint64(i + 1), Start: uint64(i+1) << 32, Limit: uint64(i+2) << 32, File: file, HasFunctions: true}
		mappings[file[strings.LastIndexByte(file, '/')+1:]] = m
		p.Mapping = append(p.Mapping, m)
	}
	known := map[string]*profile.Location{}
	at := func(word string) *profile.Location { // FILE!FUNCTION
		if l := known[word]; l != nil {
			return l
		}
		file, name, _ := strings.Cut(word, "!")
		f := &profile.Function{ID: uint64(len(known) + 1), Name: name, SystemName: name}
		l := &profile.Location{ID: f.ID, Mapping: mappings[file], Address: mappings[file].Start + f.ID, Line: []profile.Line{{Function: f}}}
		p.Function, p.Location, known[word] = append(p.Function, f), append(p.Location, l), l
		return l
	}
	add := func(thread string, cpu, off int64, chain ...string) {
		s := &profile.Sample{Value: []int64{1, cpu * 1e6, off * 1e6}, Label: map[string][]string{"thread": {thread}}}
		for _, word := range chain {
			s.Location = append([]*profile.Location{at(word)}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	start := []string{"libc.so.6!__libc_start_main", "envoy!main", "envoy!Envoy::MainCommon::main(int, char**)"}
	in := func(words ...string) []string { return append(append([]string{}, start...), words...) }
	server := "envoy!Envoy::Server::InstanceBase::initialize(std::shared_ptr<Envoy::Network::Address::Instance const>, Envoy::Server::ComponentFactory&)"
	add("envoy", 180, 0, "ld-linux-x86-64.so.2!_dl_relocate_object")
	add("envoy", 60, 0, "ld-linux-x86-64.so.2!_dl_relocate_object", "[kernel.kallsyms]_text!asm_exc_page_fault", "[kernel.kallsyms]_text!handle_mm_fault")
	add("envoy", 150, 0, "libc.so.6!__libc_start_main", "envoy!google::protobuf::internal::AddDescriptors(google::protobuf::internal::DescriptorTable const*)")
	add("envoy", 210, 0, in(server, "envoy!Envoy::MessageUtil::loadFromYaml", "envoy!YAML::Load<std::string>(const std::string& input)")...)
	add("envoy", 90, 0, in(server, "envoy!Envoy::MessageUtil::loadFromYaml")...)
	add("envoy", 120, 0, in(server, "envoy!Envoy::Upstream::ClusterManagerImpl::create", "libc.so.6!malloc")...)
	add("envoy", 80, 0, in(server, "envoy!Envoy::Stats::AllocatorImpl::makeCounter")...)
	add("envoy", 10, 400, in("envoy!event_base_loop", "libc.so.6!epoll_wait", "[kernel.kallsyms]_text!do_epoll_wait")...)
	for n := range 2 {
		add(fmt.Sprintf("wrk:worker_%d", n), 40, 700, "libc.so.6!clone3", "envoy!Envoy::Server::WorkerImpl::threadRoutine", "envoy!event_base_loop", "libc.so.6!epoll_wait")
		add(fmt.Sprintf("wrk:worker_%d", n), 60, 0, "libc.so.6!clone3", "envoy!Envoy::Server::WorkerImpl::threadRoutine", "envoy!Envoy::ThreadLocal::InstanceImpl::runOnAllThreads")
	}
	return p
}

// flamePicture draws it as a user does, and returns the picture's path.
func flamePicture(t testing.TB, flags ...string) string {
	t.Helper()
	dir := sharedDir(t)
	file, picture := filepath.Join(dir, "start.pb.gz"), filepath.Join(dir, "start.svg")
	f, err := os.Create(file)
	must(t, err)
	must(t, flameProfile().Write(f))
	must(t, f.Close())
	run(t, append([]string{kubectlCLI(t), "profile", "convert", file, "--flamegraph", picture}, flags...)...)
	return picture
}

// What a browser shows of a flame graph, to people who like it light or dark, enlarged and searched, of CPU time and of waiting.
func TestFlameGraphLooks(t *testing.T) {
	cpu, waiting := flamePicture(t), flamePicture(t, "--type", "offcpu")
	looksAs(t, "flamegraph-light", screenshot(t, cpu, 1200, 300, lightMode))
	looksAs(t, "flamegraph-dark", screenshot(t, cpu, 1200, 300, darkMode))
	looksAs(t, "flamegraph-offcpu", screenshot(t, waiting, 1200, 300, lightMode))
	looksAs(t, "flamegraph-zoomed", screenshot(t, cpu+"#zoom=5&search=Yaml", 900, 300, lightMode))
}

// The script changes what the browser has: a click enlarges a bar and hides what is beside it, a search marks bars and sums them up.
func TestFlameGraphScript(t *testing.T) {
	picture := flamePicture(t)
	bars := regexp.MustCompile(`<svg[^>]*class="f[^"]*"[^>]*>`)
	hidden := regexp.MustCompile(`display: none`)
	at := func(page string) (all []string, shown string) {
		shown, _, _ = strings.Cut(dom(t, page), "<script>")
		return bars.FindAllString(shown, -1), shown
	}
	all, before := at(picture)
	if len(all) < 20 || len(hidden.FindAllString(strings.Join(all, "\n"), -1)) != 0 {
		t.Fatalf("%d bars:\n%s", len(all), before)
	}
	lacks(t, before, `f hit`, "Found")

	_, found := at(picture + "#search=Yaml")
	contains(t, found, "Found Yaml: ", " %")
	if n := strings.Count(found, `class="f hit"`); n != 2 {
		t.Errorf("%d bars are marked, not the two of loadFromYaml and YAML::Load", n)
	}
	_, wrong := at(picture + "#search=(")
	contains(t, wrong, "Invalid regular expression")

	// The click of a user, on the bar of loadFromYaml, and then on the way back.
	content, err := os.ReadFile(picture)
	must(t, err)
	click := func(script string) string {
		page := filepath.Join(sharedDir(t), "clicked.svg")
		must(t, os.WriteFile(page, []byte(strings.TrimSuffix(string(content), "</svg>\n")+"<script>"+script+"</script></svg>\n"), 0o644))
		return page
	}
	const onYaml = `[...document.querySelectorAll('.f')].find(b => b.querySelector('title').textContent.startsWith('Envoy::MessageUtil')).dispatchEvent(new MouseEvent('click'));`
	all, after := at(click(onYaml))
	if n := len(hidden.FindAllString(strings.Join(all, "\n"), -1)); n == 0 || n > len(all)-6 {
		t.Errorf("%d of %d bars are hidden:\n%s", n, len(all), after)
	}
	contains(t, after, `id="reset"`, "display: inline", "Envoy::MessageUtil::loadFromYaml")
	all, again := at(click(onYaml + `document.getElementById('reset').dispatchEvent(new MouseEvent('click'));`))
	if strings.Contains(strings.Join(all, "\n"), "display: none") {
		t.Errorf("bars stay hidden:\n%s", again)
	}
}
