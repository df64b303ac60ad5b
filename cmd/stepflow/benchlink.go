package main

import (
	"fmt"

	"stepflow/dsl"
	"stepflow/runtime/scaling"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// benchLink measures what the ranks send through, and notes it in a state. All ranks run it; rank 0 says what came of it.
func (a *app) benchLink(folder string) int {
	samples, err := scaling.Measure(a.ranks)
	if err != nil {
		return a.fail(err)
	}
	if a.ranks.Number() > 0 {
		return exitOK
	}
	link, err := scaling.Fit(samples)
	if err != nil {
		return a.fail(err)
	}
	if folder != "" {
		if err := a.noteLink(folder, link); err != nil {
			return a.fail(err)
		}
	}
	if a.json {
		a.line(map[string]any{"type": "link", "ranks": a.ranks.Count(), "engine": a.ranks.Name(), "link": link, "samples": samples})
		return exitOK
	}
	fmt.Fprintf(a.stdout, "%d ranks, %s. A message from each rank to each other:\n", a.ranks.Count(), a.ranks.Name())
	fmt.Fprintf(a.stdout, "%12s %14s %16s %14s\n", "bytes", "time", "rate", "fitted")
	for _, x := range samples {
		t := link.Latency + float64(x.Bytes)/link.Bandwidth
		fmt.Fprintf(a.stdout, "%12s %11.1f us %11.2f GB/s %11.1f us\n", dsl.FormatBytes(x.Bytes), 1e6*x.Seconds,
			float64(x.Bytes)/x.Seconds/1e9, 1e6*t)
	}
	fmt.Fprintf(a.stdout, "fitted: latency=%.3gus,bandwidth=%sB/s\n", 1e6*link.Latency, words.Count(link.Bandwidth))
	if folder != "" {
		fmt.Fprintf(a.stdout, "Noted in %s, where plan -ranks finds it.\n", folder)
	}
	return exitOK
}

// noteLink keeps a measured link among the rates of a state.
func (a *app) noteLink(folder string, l scaling.Link) error {
	d, err := state.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	d.State.Rate(scaling.MessageRate, 1/max(l.Latency, 1e-12))
	d.State.Rate(scaling.ByteRate, l.Bandwidth)
	return d.Save()
}
