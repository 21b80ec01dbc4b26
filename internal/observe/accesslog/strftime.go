package accesslog

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A clock reads the times that Envoy writes by a format of START_TIME: strftime(3)'s conversions, and %s, %f, %3f as Envoy extends them.
type clock struct {
	expression string // of the times
	exact      bool   // each time is of the same length
	match      *regexp.Regexp
	parts      []string // the conversion of each group of match
}

// orNone goes behind an expression where the value may be missing.
const orNone = `|-|`

// defaultTime is Envoy's, in UTC.
const defaultTime = "%Y-%m-%dT%H:%M:%S.%3fZ"

var conversion = regexp.MustCompile(`^%(?:E?([1-9])?(f)|E([1-9*]?)(S)|[-_0^#E]?([A-Za-z%]))`)

// newClock reads a format; "" is the default.
func newClock(format string) *clock {
	if format == "" {
		format = defaultTime
	}
	format = strings.NewReplacer("%T", "%H:%M:%S", "%R", "%H:%M", "%F", "%Y-%m-%d", "%D", "%m/%d/%y").Replace(format)
	c := &clock{exact: true}
	var expression strings.Builder
	part := func(name, pattern string) {
		c.parts = append(c.parts, name)
		expression.WriteString("(" + pattern + ")")
	}
	for i := 0; i < len(format); {
		found := conversion.FindStringSubmatch(format[i:])
		if found == nil {
			expression.WriteString(regexp.QuoteMeta(format[i : i+1]))
			i++
			continue
		}
		i += len(found[0])
		switch name := found[2] + found[4] + found[5]; {
		case name == "f":
			digits := found[1]
			if digits == "" {
				digits = "9"
			}
			part("f", `\d{`+digits+`}`)
		case found[4] == "S": // of absl: seconds with a fraction
			c.exact = false
			part("fS", `\d\d(?:\.\d+)?`)
		case name == "Y":
			part(name, `\d{4}`)
		case strings.Contains("mdHMSyI", name):
			part(name, `\d\d`)
		case name == "e" || name == "k" || name == "l":
			part(name, `[ \d]?\d`)
			c.exact = false
		case name == "j":
			part(name, `\d{3}`)
		case name == "s":
			part(name, `\d+`)
			c.exact = false
		case name == "z":
			part(name, `[+-]\d\d:?\d\d|Z`)
		case name == "b" || name == "h":
			part("b", `[A-Za-z]{3}`)
		case name == "p":
			part(name, `[AaPp][Mm]`)
		case name == "%":
			expression.WriteString("%")
		case name == "n" || name == "t":
			expression.WriteString(`\s`)
		default: // names of days, months, zones, weeks: nothing is read of them
			part("", `.+?`)
			c.exact = false
		}
	}
	c.match = regexp.MustCompile(`^` + expression.String() + `$`)
	c.expression = strings.ReplaceAll(expression.String(), "(", "(?:")
	c.expression = strings.ReplaceAll(c.expression, "(?:?:", "(?:") + orNone
	c.expression = strings.ReplaceAll(c.expression, `\(?:`, `\(`) // a bracket that is text
	return c
}

// time reads a time. Where the format has no zone it is taken for UTC, as START_TIME is.
func (c *clock) time(text string) (time.Time, bool) {
	found := c.match.FindStringSubmatch(text)
	if found == nil {
		return time.Time{}, false
	}
	year, month, day, hour, minute, second, nanosecond := 1970, time.January, 1, 0, 0, 0, 0
	zone, afternoon, dated := time.UTC, false, false
	for i, name := range c.parts {
		value := strings.TrimSpace(found[i+1])
		n, _ := strconv.Atoi(value)
		switch name {
		case "Y":
			year, dated = n, true
		case "y":
			year, dated = 2000+n, true
		case "m":
			month = time.Month(n)
		case "b":
			if t, err := time.Parse("Jan", value); err == nil {
				month = t.Month()
			}
		case "d", "e":
			day = n
		case "j":
			month, day = time.January, n
		case "H", "k", "I", "l":
			hour = n
		case "p":
			afternoon = strings.EqualFold(value, "pm")
		case "M":
			minute = n
		case "S":
			second = n
		case "fS":
			f, _ := strconv.ParseFloat(value, 64)
			second, nanosecond = int(f), int((f-float64(int(f)))*1e9)
		case "f":
			nanosecond, _ = strconv.Atoi((value + "00000000")[:9])
		case "z":
			if t, err := time.Parse("-0700", strings.Replace(value, ":", "", 1)); err == nil {
				zone = t.Location()
			}
		}
	}
	if afternoon && hour < 12 {
		hour += 12
	}
	if i := slices.Index(c.parts, "s"); i >= 0 { // it says all
		n, _ := strconv.ParseInt(found[i+1], 10, 64)
		return time.Unix(n, int64(nanosecond)).UTC(), true
	}
	return time.Date(year, month, day, hour, minute, second, nanosecond, zone), dated
}
