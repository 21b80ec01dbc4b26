package telemetry

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// A Value is a number, or a distribution.
type Value struct {
	Number float64

	Distribution bool // of a histogram or a summary
	Count, Sum   float64
	buckets      []bucket   // of a histogram: cumulative, in their order
	quantiles    []quantile // of a summary
}

type bucket struct{ le, count float64 }

type quantile struct{ q, value float64 }

func valueOf(m *dto.Metric) Value {
	switch {
	case m.Histogram != nil:
		h := m.GetHistogram()
		v := Value{Distribution: true, Count: max(float64(h.GetSampleCount()), h.GetSampleCountFloat()), Sum: h.GetSampleSum()}
		for _, b := range h.GetBucket() {
			v.buckets = append(v.buckets, bucket{b.GetUpperBound(), max(float64(b.GetCumulativeCount()), b.GetCumulativeCountFloat())})
		}
		return v
	case m.Summary != nil:
		v := Value{Distribution: true, Count: float64(m.GetSummary().GetSampleCount()), Sum: m.GetSummary().GetSampleSum()}
		for _, q := range m.GetSummary().GetQuantile() {
			v.quantiles = append(v.quantiles, quantile{q.GetQuantile(), q.GetValue()})
		}
		return v
	case m.Counter != nil:
		return Value{Number: m.GetCounter().GetValue()}
	case m.Gauge != nil:
		return Value{Number: m.GetGauge().GetValue()}
	}
	return Value{Number: m.GetUntyped().GetValue()}
}

// same says whether two values are equal; so are two that are no number.
func (v Value) same(w Value) bool {
	eq := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
	return v.Distribution == w.Distribution && eq(v.Number, w.Number) && v.Count == w.Count && eq(v.Sum, w.Sum)
}

func (v Value) isZero() bool { return v.same(Value{Distribution: v.Distribution}) }

// Quantile estimates a quantile (0 to 1) of a histogram, as Prometheus's histogram_quantile does: evenly spread within a bucket. NaN where there is none.
func (v Value) Quantile(q float64) float64 {
	for _, known := range v.quantiles {
		if known.q == q {
			return known.value
		}
	}
	if v.Count <= 0 || len(v.buckets) == 0 {
		return math.NaN()
	}
	rank := q * v.Count
	below, from := 0.0, 0.0
	for _, b := range v.buckets {
		if b.count >= rank {
			if math.IsInf(b.le, 1) {
				return from // more is not known
			}
			if b.count == below {
				return b.le
			}
			return from + (b.le-from)*(rank-below)/(b.count-below)
		}
		below, from = b.count, b.le
	}
	return from
}

// String is the value for people.
func (v Value) String() string {
	if !v.Distribution {
		return written(v.Number)
	}
	if v.Count == 0 {
		return "none"
	}
	text := fmt.Sprintf("%s, sum %s", written(v.Count), written(v.Sum))
	for _, q := range []float64{0.5, 0.99} {
		if x := v.Quantile(q); !math.IsNaN(x) && v.Count > 1 {
			text += fmt.Sprintf(", p%g ~%s", q*100, written(x))
		}
	}
	return text
}

func written(n float64) string {
	text := strconv.FormatFloat(n, 'f', -1, 64)
	if whole, fraction, ok := strings.Cut(text, "."); ok && len(fraction) > 3 {
		return whole + "." + fraction[:3]
	}
	return text
}

// number is a number of JSON, which has none for NaN and the infinite.
type number float64

func (n number) MarshalJSON() ([]byte, error) {
	if f := float64(n); math.IsNaN(f) || math.IsInf(f, 0) {
		return json.Marshal(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return json.Marshal(float64(n))
}

// MarshalJSON writes a number, or {count, sum, p50, p90, p99}.
func (v Value) MarshalJSON() ([]byte, error) {
	if !v.Distribution {
		return json.Marshal(number(v.Number))
	}
	all := map[string]number{"count": number(v.Count), "sum": number(v.Sum)}
	for _, q := range []float64{0.5, 0.9, 0.99} {
		if x := v.Quantile(q); !math.IsNaN(x) {
			all[fmt.Sprintf("p%g", q*100)] = number(x)
		}
	}
	return json.Marshal(all)
}
