// Package accesslog reads Envoy's access logs and explains what went wrong with the requests in them.
//
//	Flag     flags.go     the response flags of Envoy 1.40: whose fault, and what to look at
//	Format   format.go    a format string of Envoy's, as what reads its lines; strftime.go its times
//	JSON     json.go      a line of JSON, with or without the dictionary that it was written by
//	Entry    entry.go     a request, or a connection, of the log; trace.go the trace that it belongs to
//	Reader   reader.go    a log, line by line, among other logs' lines; prefix.go what kubectl and the runtimes put before them
//	Report   report.go    failures in groups
//
// It is of Envoy's documentation, "Access logging", and tried with Envoy 1.40.
package accesslog
