// Package tracing sets up OpenTelemetry and owns the names of spans, attributes and metrics. It
// imports nothing of stepflow's: others pass it plain values.
//
// In: the standard OTEL_* variables, and the spans, numbers and log lines of a run. Out: whole
// traces, metrics and logs, sent to a collector, written to a file or scraped; nothing, and at no
// cost, where no variable asks. Start with the tables of names (names.go), of which docs/tracing.md
// is made, and [Setup] (setup.go); whole.go is why no trace is ever seen without its root.
package tracing
