//go:build linux

package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func sample() report {
	return report{
		Machine: machine{CPU: "C", Cores: 2},
		Rows: []rowSamples{{
			Name: "off", Date: "D", Commit: "abc", Notes: []string{"a\nb"},
			Series: []series{
				{offCase, direct, "µs", []float64{10, 12, 11}},
				{offCase, product, "µs", []float64{60, 61, 62}},
				{offCase, dashWrap, "µs", []float64{110, 112, 111}},
				{offCase, bashWrap, "µs", []float64{210, 212, 211}},
				{offCase, goWrap, "µs", []float64{310, 312, 311}},
				{offCase, bareWrap, "µs", []float64{15, 17, 16}},
			},
		}},
	}
}

func TestSamplesAreKeptOneLineASeries(t *testing.T) {
	text := sample().encode()
	var back report
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !reflect.DeepEqual(back, sample()) {
		t.Errorf("came back as %+v", back)
	}
	if want := `    {"case":"a program that only exits","way":"direct","unit":"µs","samples":[10,12,11]},` + "\n"; !strings.Contains(string(text), want) {
		t.Errorf("no line %s in\n%s", want, text)
	}
}

func TestPutReplacesARow(t *testing.T) {
	r := sample()
	r.put(rowSamples{Name: "held"})
	r.put(rowSamples{Name: "off", Commit: "def"})
	if len(r.Rows) != 2 || r.Rows[0].Commit != "def" || r.Rows[1].Name != "held" {
		t.Errorf("%+v", r.Rows)
	}
}
