package perfdata

import (
	"cmp"
	"math"
	"slices"
)

// A record is one of the kernel's, as it was in the file.
type record struct {
	kind   uint32
	misc   uint16
	body   []byte // without the header
	offset int64
	time   uint64
	event  *event // of a sample
}

// A queue brings records into the order of their times. perf writes the buffers of the CPUs one after the other, in rounds, and says when each is done
// (PERF_RECORD_FINISHED_ROUND): nothing that comes after a round is older than the youngest of the round before it.
type queue struct {
	deliver  func(record)
	waiting  []record
	size     int    // of their bodies
	youngest uint64 // of all
	bound    uint64 // the youngest of the rounds that are done
}

// maxQueue is how many bytes wait; then the older half goes, as perf does it.
const maxQueue = 64 << 20

// recordCost is what a record in the queue needs beside its body.
const recordCost = 80

func (q *queue) add(r record) {
	if r.time == 0 || r.time == math.MaxUint64 { // what perf itself has added about processes that ran before
		q.deliver(r)
		return
	}
	r.body = slices.Clone(r.body)
	q.waiting = append(q.waiting, r)
	q.youngest = max(q.youngest, r.time)
	if q.size += len(r.body) + recordCost; q.size > maxQueue {
		q.sort()
		q.flush(len(q.waiting) / 2)
	}
}

func (q *queue) round() {
	q.sort()
	n, _ := slices.BinarySearchFunc(q.waiting, q.bound, func(r record, t uint64) int {
		if r.time <= t {
			return -1
		}
		return 1
	})
	q.flush(n)
	q.bound = q.youngest
}

func (q *queue) end() {
	q.sort()
	q.flush(len(q.waiting))
}

func (q *queue) sort() {
	slices.SortStableFunc(q.waiting, func(a, b record) int { return cmp.Compare(a.time, b.time) })
}

func (q *queue) flush(n int) {
	for _, r := range q.waiting[:n] {
		q.size -= len(r.body) + recordCost
		q.deliver(r)
	}
	q.waiting = slices.Delete(q.waiting, 0, n)
}
