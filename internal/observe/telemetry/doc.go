// Package telemetry reads the metrics that Envoy and pilot-agent expose for Prometheus, and tells what moved while Envoy started.
//
//	Scrape    scrape.go     one answer of /stats/prometheus, with what of it could not be read
//	Value     value.go      the value of a series: a number, or a histogram with its quantiles
//	Compare   compare.go    what moved between two scrapes
//	Judge     meaning.go    the metrics that tell of a start that fails, and what to look at
//	Follow    follow.go     scrape after scrape, until Envoy is LIVE: the one poll that there is, for metrics have no event
//	Print     print.go      for people
//
// The exposition format is parsed by the Prometheus project's own parser (prometheus/common/expfmt).
package telemetry
