# make build   bin/envoyshim (GOARCH=arm64 make build for arm64)
# make demo    the whole story with real parts
# make test    everything that is proven, what CI runs
SHELL := /bin/bash
GOARCH ?= $(shell go env GOARCH)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FIXTURES := bin/test/standin bin/test/standin-static bin/test/probe bin/test/probe-static \
	bin/test/probe-static-pie bin/test/goprog bin/test/parent bin/test/deny

.PHONY: build deps fixtures demo test test-long lint fuzz clean

# -E chooses the early entry: internal/early/README.md.
build:
	CGO_ENABLED=0 GOOS=linux GOARCH=$(GOARCH) go build -buildvcs=auto -trimpath -ldflags '-s -w -E envoyshim_entry' -o bin/envoyshim .

deps:
	@test/deps.sh

fixtures: $(FIXTURES)

bin/test/standin: test/standin/standin.cc
	@mkdir -p $(@D)
	g++ -std=c++17 -g -O0 -Wall -o $@ $< -levent -levent_pthreads -pthread

bin/test/standin-static: test/standin/standin.cc
	@mkdir -p $(@D)
	g++ -std=c++17 -g -O0 -Wall -static -o $@ $< -levent -levent_pthreads -pthread

bin/test/probe: test/fixtures/probe.cc
	@mkdir -p $(@D)
	g++ -g -O0 -Wall -o $@ $<

bin/test/probe-static: test/fixtures/probe.cc
	@mkdir -p $(@D)
	g++ -g -O0 -Wall -static -o $@ $<

bin/test/probe-static-pie: test/fixtures/probe.cc
	@mkdir -p $(@D)
	g++ -g -O0 -Wall -static-pie -o $@ $<

bin/test/goprog: test/fixtures/goprog/main.go
	@mkdir -p $(@D)
	CGO_ENABLED=0 go build -o $@ ./test/fixtures/goprog

bin/test/parent: test/fixtures/parent.c
	@mkdir -p $(@D)
	gcc -g -O0 -Wall -o $@ $<

bin/test/deny: test/fixtures/deny.c
	@mkdir -p $(@D)
	gcc -g -O0 -Wall -static -o $@ $<

demo: deps build bin/test/standin
	@test/demo.sh

test: deps build fixtures lint
	GOARCH=arm64 CGO_ENABLED=0 GOOS=linux go build -trimpath -ldflags '-s -w -E envoyshim_entry' -o bin/test/envoyshim.arm64 .
	go test -count=1 -timeout 35m ./...

# The same code with more trials.
test-long: deps build fixtures
	ENVOYSHIM_TEST_LONG=1 go test -count=1 -timeout 3h ./...

# Half a minute each; minimising large inputs would take the rest.
fuzz: build
	go test -run '^$$' -fuzz FuzzEntry -fuzztime 30s -fuzzminimizetime 10x ./internal/early
	go test -run '^$$' -fuzz FuzzSplitter -fuzztime 30s -fuzzminimizetime 10x ./internal/rsp
	go test -run '^$$' -fuzz FuzzRead -fuzztime 30s -fuzzminimizetime 10x ./internal/elfinfo

lint:
	@test -z "$$(gofmt -l . | tee /dev/stderr)"
	go vet ./...
	GOARCH=arm64 go vet ./...
	go run $(STATICCHECK) ./...
	go mod tidy -diff

clean:
	rm -rf bin
