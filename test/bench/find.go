//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const (
	findComm   = "one by its name"
	findPod    = "those of a pod"
	pgrepFinds = "pgrep -x"
	nsenterWay = "nsenter loop"
)

// The crowd of the row: pods of so many processes each.
const (
	pods    = 50
	podSize = 100
)

var findRow = row{
	name:  "find",
	title: "finding a process among 5,000",
	how: `From the spawn to the end, in ms, with 5,000 sleeping processes in 50 UTS namespaces. By its name: ` + "`envoyshim find --comm`" + ` also holds, and
tells, what it finds. Those of a pod: ` + "`find --pod`" + `, which gives 100, beside a shell loop that runs ` + "`nsenter -u -t $pid hostname`" + ` for each process; it is
run for one process of each, and what it takes is multiplied by 100.`,
	measure: measureFind,
	claims: []claim{
		{findComm, product, "", "", goal{never, 200}},
		{findPod, product, "", "", goal{never, 200}},
		{findComm, product, pgrepFinds, "", goal{atMost, 1}},
		{findPod, product, nsenterWay, "", goal{}},
	},
}

// nsenterLoop looks for the pod $1 among the processes that follow.
const nsenterLoop = `#!/bin/bash
pod=$1
shift
for pid; do
	if [ "$(nsenter -u -t "$pid" hostname)" = "$pod" ]; then echo "$pid"; fi
done
`

func measureFind(b *bench) ([]series, error) {
	loop, err := b.script("nsenter-loop", nsenterLoop)
	if err != nil {
		return nil, err
	}
	crowd, err := b.crowd()
	if err != nil {
		return nil, err
	}
	const wanted = "pod-25"
	argv := []string{loop, wanted}
	for _, p := range crowd {
		argv = append(argv, fmt.Sprint(p.pid))
	}
	byName, err := b.inTurn(findComm, "ms", 20, []way{
		{product, finds(1, 1, b.shim.cli(), "find", "--comm", "needle")},
		{pgrepFinds, finds(0, 1, tool("pgrep"), "-x", "needle")},
	})
	if err != nil {
		return nil, err
	}
	byPod, err := b.inTurn(findPod, "ms", 20, []way{{product, finds(1, podSize, b.shim.cli(), "find", "--pod", wanted)}})
	if err != nil {
		return nil, err
	}
	slow, err := b.inTurn(findPod, "ms", 5, []way{{nsenterWay, func() (float64, error) {
		ms, err := finds(0, 1, argv...)()
		return ms * podSize, err
	}}})
	if err != nil {
		return nil, err
	}
	for _, p := range crowd {
		p.hangUp()
	}
	return append(append(byName, byPod...), slow...), finish(crowd...)
}

// crowd starts the pods, each of a shell and what that has started.
func (b *bench) crowd() (crowd []*program, err error) {
	sleeper, needle := filepath.Join(b.dir, "sleeper"), filepath.Join(b.dir, "needle")
	for _, name := range []string{sleeper, needle} {
		if err := copyFile(tool("cat"), name); err != nil {
			return nil, err
		}
	}
	// They wait for the end of the input of the pod's shell, which is one of them.
	pod, err := b.script("pod", `#!/bin/bash
hostname "$1"
for ((i = 2; i < $2; i++)); do "$3" <&0 & done
"$4" <&0 &
wait
`)
	if err != nil {
		return nil, err
	}
	for i := range pods {
		last := sleeper
		if i == pods/2 {
			last = needle
		}
		p, err := start(nil, []string{tool("unshare"), "--uts", pod, fmt.Sprintf("pod-%d", i), fmt.Sprint(podSize), sleeper, last})
		if err != nil {
			return nil, err
		}
		crowd = append(crowd, p)
	}
	found := 0
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		text, err := output(tool("pgrep"), "-x", "pod|sleeper|needle")
		if found = strings.Count(text, "\n"); err == nil && found == pods*podSize {
			return crowd, nil
		}
	}
	return nil, fmt.Errorf("%d processes, not %d", found, pods*podSize)
}

// finds is the time that a program takes to find so many processes, one a line after the head of the table.
func finds(head, n int, argv ...string) func() (float64, error) {
	return func() (float64, error) {
		began := time.Now()
		text, err := output(argv...)
		took := time.Since(began)
		if found := strings.Count(text, "\n") - head; err == nil && found != n {
			return 0, fmt.Errorf("%d found, not %d: %s", found, n, text)
		}
		return milliseconds(took), err
	}
}
