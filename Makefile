# make build   bin/envoyshim (GOARCH=arm64 make build for arm64), bin/kubectl-envoyshim for this machine
# make demo    the whole story with real parts
# make test    everything that is proven, what CI runs
# make test-cluster  the pods of test/cluster on the cluster that kubectl points at. IMAGE=REF names the debug image that is built and
#              pushed, or, with LOAD, given to this command as a file of docker save's form: LOAD='kind load image-archive',
#              'minikube image load', 'k3d image import'. CLUSTER=local, as root, makes a cluster for it on this machine
# make bench   BENCHMARKS.md: measured beside gdbserver, lldb-server and wrapper scripts
SHELL := /bin/bash
GOARCH ?= $(shell go env GOARCH)
POD := bin/envoyshim
CARRIED = $(subst envoyshim,carried,$(POD))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FIXTURES := bin/test/standin bin/test/standin-static bin/test/standin-bazel bin/test/tour bin/test/probe bin/test/probe-static \
	bin/test/probe-static-pie bin/test/goprog bin/test/gocrowd bin/test/gohost bin/test/libgolib.so \
	bin/test/parent bin/test/deny bin/test/crowd bin/test/tally bin/test/crash bin/test/hear bin/test/storm bin/test/bench-exit \
	bin/test/gorecover bin/test/burn bin/test/burn-nofp bin/test/burn-static bin/test/shares bin/test/libplugin.so bin/test/crowd-musl bin/test/listen-musl \
	bin/test/gorecover bin/test/burn bin/test/burn-nofp bin/test/burn-static bin/test/waits bin/test/shares bin/test/libplugin.so bin/test/crowd-musl \
	bin/test/catcher bin/test/adminport bin/test/envoyshim-enter bin/test/goprog-arm64 bin/test/guest.test
ARM64_FIXTURES := $(addprefix bin/arm64/test/,probe probe-static probe-static-pie parent crash hear crowd burn burn-static goprog gocrowd guest.test dlv \
	trace.test traced/stripped)
BENCH_FIXTURES := bin/test/bench-execve bin/test/bench-goexec bin/test/bench-goheart bin/test/heartbeat

# The tests in guests, which are emulated machines: they wait for nothing of this one, and run beside those of sessions.
GUESTS := ^(TestYama|TestOnARM64|TestObserveOnARM64|TestEBPFOnDebiansKernel)$$

# The tests of debugger sessions, which both the external servers and our own must pass, and our own under watch for a crash, and from the node, too.
SESSIONS := GDB|LLDB|DAP|RunToTheEnd|FirstStop|QuitLets|LostClient|LaterAttach|OneClient|NonStop|SignalsUnder|SlowAndOdd|StatusFollows|Disconnect

.PHONY: FORCE build pod shims arm64 dist deps fixtures bench-deps bench-fixtures demo test test-guests test-sessions test-long test-cluster bench lint fuzz clean

build: pod
	CGO_ENABLED=0 go build -buildvcs=auto -trimpath -ldflags '-s -w' -o bin/kubectl-envoyshim ./cmd/kubectl-envoyshim

# The program of pods. Inside it lies, compressed, what is seldom needed (internal/carried). -E chooses the early entry: internal/early/README.md.
pod: internal/carried/program-$(GOARCH).zst
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -buildvcs=auto -tags carried -trimpath -ldflags '-s -w -E envoyshim_entry' -o $(POD) .

internal/carried/program-$(GOARCH).zst: FORCE
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -buildvcs=false -trimpath -ldflags '-s -w' -o $(CARRIED) ./internal/carried/program
	@zstd -dcq $@ 2>/dev/null | cmp -s - $(CARRIED) || zstd -q -f --ultra -22 --zstd=wlog=22 $(CARRIED) -o $@

# The same for each architecture, as kubectl-envoyshim carries them when it is built with -tags shims.
shims:
	for arch in arm64 amd64; do \
		$(MAKE) pod GOARCH=$$arch POD=bin/$$arch/envoyshim && gzip -9 -n <bin/$$arch/envoyshim >images/shim/envoyshim-$$arch.gz || exit; \
	done

# A release: archives for each platform, checksums, bills of materials.
dist: shims
	rm -rf dist
	go run ./internal/dist dist

deps:
	@test/deps.sh

fixtures: $(FIXTURES)

bin/test/standin: test/standin/standin.cc
	@mkdir -p $(@D)
	g++ -std=c++17 -g -O0 -Wall -o $@ $< -levent -levent_pthreads -pthread

bin/test/standin-static: test/standin/standin.cc
	@mkdir -p $(@D)
	g++ -std=c++17 -g -O0 -Wall -static -o $@ $< -levent -levent_pthreads -pthread

# As Bazel compiles: in a directory that the debug information calls otherwise, with names relative to it.
bin/test/standin-bazel: test/standin/standin.cc
	@mkdir -p $(@D)
	cd $(<D) && g++ -std=c++17 -g -O0 -Wall -fdebug-prefix-map=$(CURDIR)/$(<D)=/proc/self/cwd -o $(CURDIR)/$@ $(<F) -levent -levent_pthreads -pthread

bin/test/tour: test/fixtures/tour.cc
	@mkdir -p $(@D)
	g++ -std=c++17 -g -O0 -Wall -o $@ $< -pthread

bin/test/burn: test/fixtures/burn.cc
	@mkdir -p $(@D)
	g++ -g -O2 -fno-omit-frame-pointer -Wall -o $@ $< -pthread

bin/test/waits: test/fixtures/waits.cc
	@mkdir -p $(@D)
	g++ -g -O2 -fno-omit-frame-pointer -Wall -o $@ $< -pthread

bin/test/burn-static: test/fixtures/burn.cc
	@mkdir -p $(@D)
	g++ -g -O2 -fno-omit-frame-pointer -Wall -static -o $@ $< -pthread

bin/test/burn-nofp: test/fixtures/burn.cc
	@mkdir -p $(@D)
	g++ -O2 -fomit-frame-pointer -Wall -o $@ $< -pthread

bin/test/probe: test/fixtures/probe.cc
	@mkdir -p $(@D)
	g++ -g -O0 -Wall -o $@ $<

bin/test/probe-static: test/fixtures/probe.cc
	@mkdir -p $(@D)
	g++ -g -O0 -Wall -static -o $@ $<

bin/test/probe-static-pie: test/fixtures/probe.cc
	@mkdir -p $(@D)
	g++ -g -O0 -Wall -static-pie -o $@ $<

bin/test/goprog bin/test/gocrowd bin/test/gorecover: bin/test/%: test/fixtures/%/main.go
	@mkdir -p $(@D)
	CGO_ENABLED=0 go build -gcflags "-N -l" -o $@ ./test/fixtures/$*

bin/test/envoyshim-enter: FORCE
	@mkdir -p $(@D)
	CGO_ENABLED=0 go build -ldflags '-E envoyshim_entry' -o $@ ./test/fixtures/enter

bin/test/goprog-arm64: test/fixtures/goprog/main.go
	@mkdir -p $(@D)
	GOOS=linux GOARCH=arm64 CGO_ENABLED=0 go build -o $@ ./test/fixtures/goprog

bin/test/libgolib.so: test/fixtures/golib/golib.go
	@mkdir -p $(@D)
	CGO_ENABLED=1 go build -buildmode=c-shared -o $@ $<

bin/test/gohost: test/fixtures/gohost.c
	@mkdir -p $(@D)
	gcc -g -O0 -Wall -o $@ $<

bin/test/parent: test/fixtures/parent.c
	@mkdir -p $(@D)
	gcc -g -O0 -Wall -o $@ $<

bin/test/deny: test/fixtures/deny.c
	@mkdir -p $(@D)
	gcc -g -O0 -Wall -static -o $@ $<

bin/test/crowd bin/test/tally bin/test/crash bin/test/hear bin/test/storm: bin/test/%: test/fixtures/%.c
	@mkdir -p $(@D)
	gcc -g -O0 -Wall -o $@ $< -pthread

# With frame pointers, as the kernel follows them.
bin/test/shares: test/fixtures/shares.cc
	@mkdir -p $(@D)
	g++ -g -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -Wall -o $@ $< -pthread -ldl

bin/test/libplugin.so: test/fixtures/plugin.c
	@mkdir -p $(@D)
	gcc -g -O1 -fno-omit-frame-pointer -fno-optimize-sibling-calls -Wall -shared -fPIC -o $@ $<

# With another libc than the debug servers'.
bin/test/crowd-musl bin/test/listen-musl: bin/test/%-musl: test/fixtures/%.c
	@mkdir -p $(@D)
	musl-gcc -g -O0 -Wall -o $@ $< -pthread

# The tests that run inside a guest, a machine of its own: test/guest_test.go.
bin/test/guest.test: FORCE
	CGO_ENABLED=0 go test -c -tags guest -trimpath -o $@ ./test

# Package catch, with what it carries.
bin/test/catcher: FORCE internal/carried/program-$(GOARCH).zst
	CGO_ENABLED=0 go build -tags carried -trimpath -o $@ ./test/fixtures/catcher

# Package observe/admin, likewise.
bin/test/adminport: FORCE internal/carried/program-$(GOARCH).zst
	CGO_ENABLED=0 go build -tags carried -trimpath -o $@ ./test/fixtures/adminport

# What a guest of arm64 needs.
arm64: $(ARM64_FIXTURES)
	$(MAKE) pod GOARCH=arm64 POD=bin/arm64/envoyshim
	CGO_ENABLED=0 GOARCH=arm64 go build -trimpath -ldflags '-s -w' -o bin/arm64/kubectl-envoyshim ./cmd/kubectl-envoyshim
	CGO_ENABLED=0 GOARCH=arm64 go build -tags carried -trimpath -o bin/arm64/test/catcher ./test/fixtures/catcher

bin/arm64/test/%: test/fixtures/%.c
	@mkdir -p $(@D)
	aarch64-linux-gnu-gcc -g -O0 -Wall -o $@ $< -pthread

bin/arm64/test/%: test/fixtures/%.cc
	@mkdir -p $(@D)
	aarch64-linux-gnu-g++ -g $(or $(OPTIMISED),-O0) -Wall -o $@ $< -pthread

bin/arm64/test/%-static: test/fixtures/%.cc
	@mkdir -p $(@D)
	aarch64-linux-gnu-g++ -g $(or $(OPTIMISED),-O0) -Wall -static -o $@ $< -pthread

bin/arm64/test/%-static-pie: test/fixtures/%.cc
	@mkdir -p $(@D)
	aarch64-linux-gnu-g++ -g -O0 -Wall -static-pie -o $@ $<

bin/arm64/test/burn bin/arm64/test/burn-static: OPTIMISED := -O2 -fno-omit-frame-pointer

bin/arm64/test/goprog bin/arm64/test/gocrowd: bin/arm64/test/%: test/fixtures/%/main.go
	@mkdir -p $(@D)
	CGO_ENABLED=0 GOARCH=arm64 go build -gcflags "-N -l" -o $@ ./test/fixtures/$*

# The tests of package trace, and what they trace.
bin/arm64/test/trace.test: FORCE
	CGO_ENABLED=0 GOARCH=arm64 go test -c -trimpath -o $@ ./internal/observe/trace

bin/arm64/test/traced/stripped: internal/observe/trace/testdata/build.sh internal/observe/trace/testdata/traced.cc
	@mkdir -p $(@D)
	$< $(@D) aarch64-linux-gnu-

bin/arm64/test/guest.test: FORCE
	CGO_ENABLED=0 GOARCH=arm64 go test -c -tags guest -trimpath -o $@ ./test

# The client of Delve there, of the version that the tests use.
bin/arm64/test/dlv: test/dlv/go.mod
	cd test/dlv && CGO_ENABLED=0 GOARCH=arm64 GOFLAGS=-mod=readonly go build -trimpath -o ../../$@ github.com/go-delve/delve/cmd/dlv

bench-deps:
	@test/deps.sh bench

bench-fixtures: $(BENCH_FIXTURES)
	go build -o bin/test/bench ./test/bench

bin/test/bench-%: test/bench/fixtures/%.S
	@mkdir -p $(@D)
	gcc -static -nostdlib -s -o $@ $<

bin/test/bench-goexec: test/bench/fixtures/goexec/main.go
	@mkdir -p $(@D)
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $@ ./test/bench/fixtures/goexec

bin/test/bench-goheart: test/bench/fixtures/goheart/main.go
	@mkdir -p $(@D)
	CGO_ENABLED=0 go build -trimpath -o $@ ./test/bench/fixtures/goheart

bin/test/heartbeat: test/bench/fixtures/heartbeat.c
	@mkdir -p $(@D)
	gcc -O1 -Wall -static -o $@ $<

demo: demo-deps build bin/test/standin
	@test/demo.sh

demo-deps:
	@test/deps.sh demo

test: deps arm64 build fixtures lint
	go test -race -count=1 -timeout 15m ./internal/... ./launcher ./nsutil/...
	go test -count=1 -timeout 50m -skip '$(GUESTS)' ./...
	@$(MAKE) --no-print-directory -j2 test-guests test-sessions

test-guests:
	go test -count=1 -timeout 30m -run '$(GUESTS)' ./test

test-sessions:
	ENVOYSHIM_TEST_EMBEDDED=1 go test -count=1 -timeout 15m -run '$(SESSIONS)' -skip 'SideBySide|BeyondItsServer' ./test
	ENVOYSHIM_TEST_EMBEDDED=1 ENVOYSHIM_TEST_HOLD_ON_CRASH=1 go test -count=1 -timeout 15m -run '$(SESSIONS)' -skip 'SideBySide|BeyondItsServer' ./test
	ENVOYSHIM_TEST_EMBEDDED=1 ENVOYSHIM_TEST_ATTACH=1 go test -count=1 -timeout 15m -run '$(SESSIONS)' -skip 'SideBySide|BeyondItsServer|Attach|PlatformIsForLLDB' ./test

# The same code with more trials.
test-long: deps build fixtures
	ENVOYSHIM_TEST_LONG=1 go test -count=1 -timeout 3h ./...

test-cluster: export CLUSTER := $(CLUSTER)
test-cluster: export IMAGE := $(IMAGE)
test-cluster: export LOAD := $(LOAD)
test-cluster: deps build
	@test/cluster/test.sh $(TESTFLAGS)

# As root, about 5 minutes, on a quiet machine. BENCH='-row held,off -runs 0.1 -o /tmp' for a
# quick look at some rows. With perf (linux-perf) it also shows where the time to the hold goes.
bench: deps bench-deps build fixtures bench-fixtures
	bin/test/bench $(BENCH)

# Half a minute each; minimising large inputs would take the rest.
fuzz: build
	go test -run '^$$' -fuzz FuzzEntry -fuzztime 30s -fuzzminimizetime 10x ./internal/early
	go test -run '^$$' -fuzz FuzzSplitter -fuzztime 30s -fuzzminimizetime 10x ./internal/rsp
	go test -run '^$$' -fuzz FuzzConn -fuzztime 30s -fuzzminimizetime 10x ./internal/rsp
	go test -run '^$$' -fuzz FuzzAnswer -fuzztime 30s -fuzzminimizetime 10x ./internal/debugserver
	go test -run '^$$' -fuzz FuzzAgentExpression -fuzztime 30s -fuzzminimizetime 10x ./internal/debugserver
	go test -run '^$$' -fuzz FuzzPlatform -fuzztime 30s -fuzzminimizetime 10x ./internal/debugserver
	go test -run '^$$' -fuzz FuzzRequests -fuzztime 30s -fuzzminimizetime 10x ./internal/delve/server
	go test -run '^$$' -fuzz FuzzRead -fuzztime 30s -fuzzminimizetime 10x ./internal/elfinfo
	go test -run '^$$' -fuzz FuzzRead -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/perfdata
	go test -run '^$$' -fuzz FuzzConvert -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/perfdata
	go test -run '^$$' -fuzz FuzzNames -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/flamegraph
	go test -run '^$$' -fuzz FuzzCallFrameInformation -fuzztime 30s -fuzzminimizetime 10x ./internal/backtrace
	go test -run '^$$' -fuzz FuzzInject -fuzztime 30s -fuzzminimizetime 10x ./images/manifest
	go test -run '^$$' -fuzz FuzzRecognise -fuzztime 30s -fuzzminimizetime 10x ./launcher
	go test -run '^$$' -fuzz FuzzMI -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/script
	go test -run '^$$' -fuzz FuzzLLDBStop -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/script
	go test -run '^$$' -fuzz FuzzReadDAP -fuzztime 30s -fuzzminimizetime 10x ./launcher
	go test -run '^$$' -fuzz FuzzLines -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/accesslog
	go test -run '^$$' -fuzz FuzzParse -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/telemetry
	go test -run '^$$' -fuzz FuzzReduce -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/admin/client
	go test -run '^$$' -fuzz FuzzParseXDSLine -fuzztime 30s -fuzzminimizetime 10x ./internal/observe/admin

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	go vet -tags cluster ./test
	go vet -tags guest ./test
	GOARCH=arm64 go vet ./...
	GOOS=darwin go build ./...
	GOOS=windows go build ./...
	go run $(STATICCHECK) ./...
	go run $(STATICCHECK) -tags cluster ./test
	go mod tidy -diff

clean:
	rm -rf bin dist images/shim/*.gz internal/carried/*.zst
