package perfdata

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// A feature is a part of the header, by the number of its bit (HEADER_*, tools/perf/util/header.h).
type feature int

const (
	featureBuildID   feature = 2
	featureHostname  feature = 3
	featureOSRelease feature = 4
	featureVersion   feature = 5
	featureArch      feature = 6
	featureCmdline   feature = 11
	featureEventDesc feature = 12
	featureClockData feature = 29
)

// about is what perf tells of the machine and of itself.
type about struct {
	hostname, release, version, arch string
	command                          []string
	buildIDs                         map[string]string // in hex, by file
	wall, clock                      uint64            // the same moment by the time of day and by the clock of the samples, in nanoseconds
}

// feature takes in one. Those that do not matter here are left out.
func (f *file) feature(number feature, b []byte, offset int64) error {
	c := cursor{b: b, order: f.order}
	switch number {
	case featureBuildID:
		return f.buildIDs(b, offset)
	case featureHostname:
		f.about.hostname = c.sized()
	case featureOSRelease:
		f.about.release = c.sized()
	case featureVersion:
		f.about.version = c.sized()
	case featureArch:
		f.about.arch = c.sized()
	case featureCmdline:
		for n := c.u32(); n > 0 && !c.short; n-- {
			f.about.command = append(f.about.command, c.sized())
		}
	case featureEventDesc:
		f.eventNames(&c)
	case featureClockData: // version, clockid
		c.u64()
		f.about.wall, f.about.clock = c.u64(), c.u64()
	}
	if c.short {
		return malformed(offset, "feature %d of the header ends early", number)
	}
	return nil
}

// eventNames reads each event's attributes, numbers and name.
func (f *file) eventNames(c *cursor) {
	n, size := c.u32(), c.u32()
	for ; n > 0 && !c.short; n-- {
		c.take(uint64(size))
		var of *event
		ids := c.u32()
		name := c.sized()
		for ; ids > 0 && !c.short; ids-- {
			if e := f.byID[c.u64()]; e != nil {
				of = e
			}
		}
		if of == nil && len(f.events) == 1 { // an event alone may have no number
			of = f.events[0]
		}
		if of != nil {
			of.name = name
		}
	}
}

// A build-id in the header: a record's header, a pid, room for the build-id, and the file's name (struct perf_record_header_build_id).
const (
	buildIDRoom = 24
	miscIDSize  = 1 << 15 // the room's 21st byte is the build-id's size
	minBuildID  = 2
	maxBuildID  = 20
)

func (f *file) buildIDs(b []byte, offset int64) error {
	for at := 0; at < len(b); {
		c := cursor{b: b[at:], order: f.order}
		c.u32()
		misc, size := c.u16(), int(c.u16())
		if size < recordHeader+4+buildIDRoom || size > len(b)-at {
			return malformed(offset+int64(at), "a build-id in %d bytes, of %d that are left", size, len(b)-at)
		}
		f.buildID(misc, b[at+recordHeader:at+size])
		at += size
	}
	return nil
}

// buildID takes in the body of one.
func (f *file) buildID(misc uint16, body []byte) {
	c := cursor{b: body, order: f.order}
	c.u32()
	room := c.take(buildIDRoom)
	name := c.text()
	size := maxBuildID
	if misc&miscIDSize != 0 && len(room) > maxBuildID {
		size = min(int(room[maxBuildID]), maxBuildID)
	}
	if c.short || name == "" || size < minBuildID {
		return
	}
	if f.about.buildIDs == nil {
		f.about.buildIDs = map[string]string{}
	}
	f.about.buildIDs[name] = hex.EncodeToString(room[:size])
}

// features reads those that the header names, each of which is a section.
func (f *file) features(at int64, present []uint64) error {
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	for number := feature(0); int(number) < 64*len(present); number++ {
		if present[number/64]&(1<<(number%64)) == 0 {
			continue
		}
		entry, err := f.read(uint64(at), sectionSize, "the place of a feature of the header")
		if err != nil {
			note(err)
			break
		}
		at += sectionSize
		s := parseSection(entry, f.order)
		switch number {
		case featureBuildID, featureHostname, featureOSRelease, featureVersion, featureArch, featureCmdline, featureEventDesc, featureClockData:
			b, err := f.read(s.offset, s.size, "a feature of the header")
			if err != nil {
				note(err)
				continue
			}
			note(f.feature(number, b, int64(s.offset)))
		}
	}
	return first
}

// present is which features there are. On a big-endian machine of 32 bits its words have half the width: every perf tells the host's name, by which that shows.
func present(b []byte, order binary.ByteOrder) []uint64 {
	c := cursor{b: b, order: order}
	var words []uint64
	for len(c.b) >= 8 {
		words = append(words, c.u64())
	}
	if order == binary.ByteOrder(binary.BigEndian) && len(words) > 0 && words[0]&(1<<featureHostname) == 0 {
		for i, w := range words {
			words[i] = w>>32 | w<<32
		}
	}
	return words
}

// lines are what is told of it in the profile.
func (a about) lines() []string {
	var lines []string
	if len(a.command) > 0 {
		lines = append(lines, "recorded by: "+strings.Join(a.command, " "))
	}
	var words []string
	for _, w := range []string{a.hostname, a.release, a.arch} {
		if w != "" {
			words = append(words, w)
		}
	}
	if len(words) > 0 {
		lines = append(lines, "on: "+strings.Join(words, ", "))
	}
	if a.version != "" {
		lines = append(lines, "perf "+a.version)
	}
	return lines
}
