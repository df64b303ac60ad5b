// Package scaling predicts what a program that several ranks run together sends, and how long a step takes, from the collectives
// that stand in the program and a description of the link between the ranks.
package scaling

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Link is what ranks send through: a message of n bytes takes Latency + n/Bandwidth (Hockney 1994).
type Link struct {
	Name      string  `json:"name,omitempty"`
	Latency   float64 `json:"latency_seconds"`
	Bandwidth float64 `json:"bandwidth"` // bytes a second, in each direction
}

// links are usual ones. Bandwidths are the nominal ones of a direction, and latencies of the order that is usual for small messages:
// measure your own with stepflow bench.
var links = []Link{
	{"10GbE", 30e-6, 1.25e9},
	{"25GbE", 30e-6, 3.125e9},
	{"100GbE", 20e-6, 12.5e9},
	{"HDR", 2e-6, 25e9}, // InfiniBand, 200 Gb/s
	{"NDR", 2e-6, 50e9}, // InfiniBand, 400 Gb/s
	{"PCIe4", 5e-6, 32e9},
	{"NVLink3", 3e-6, 300e9}, // A100
	{"NVLink4", 3e-6, 450e9}, // H100, H200
}

// LinkNames lists the links that have a name.
func LinkNames() (names []string) {
	for _, l := range links {
		names = append(names, l.Name)
	}
	return names
}

// ParseLink reads a link: a name, or latency=5us,bandwidth=25GB/s.
func ParseLink(s string) (l Link, err error) {
	if i := slices.IndexFunc(links, func(l Link) bool { return strings.EqualFold(l.Name, s) }); i >= 0 {
		return links[i], nil
	}
	for part := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case ok && key == "latency":
			d, err := time.ParseDuration(value)
			if err != nil || d < 0 {
				return l, fmt.Errorf("latency %q is not a time, such as 5us", value)
			}
			l.Latency = d.Seconds()
		case ok && key == "bandwidth":
			if l.Bandwidth, err = rate(value, "B/s"); err != nil {
				return l, fmt.Errorf("bandwidth: %w", err)
			}
		default:
			return l, fmt.Errorf("%q is neither a link (%s) nor written latency=5us,bandwidth=25GB/s", s, strings.Join(LinkNames(), ", "))
		}
	}
	if l.Bandwidth == 0 {
		return l, errors.New("a link needs a bandwidth, such as bandwidth=25GB/s")
	}
	return l, nil
}

// rate reads an amount a second with a decimal prefix, such as 25GB/s.
func rate(s, unit string) (float64, error) {
	text, ok := strings.CutSuffix(s, unit)
	factor := 1.0
	if ok && text != "" {
		if i := strings.IndexByte("kMGTPE", text[len(text)-1]); i >= 0 {
			factor, text = math.Pow(1000, float64(i+1)), text[:len(text)-1]
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if n *= factor; !ok || err != nil || !(n > 0 && n < 1e30) {
		return 0, fmt.Errorf("%q is not an amount such as 25G%s", s, unit)
	}
	return n, nil
}

// Speed is how fast a device computes: each launch takes as long as its operations or its memory traffic, whichever is longer.
type Speed struct {
	FLOPs     float64 `json:"flops"`               // operations a second
	Bandwidth float64 `json:"bandwidth,omitempty"` // bytes a second; 0 where traffic is not counted
}

// ParseSpeed reads flops=400TFLOP/s,bandwidth=3TB/s.
func ParseSpeed(s string) (v Speed, err error) {
	for part := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case ok && key == "flops":
			v.FLOPs, err = rate(value, "FLOP/s")
		case ok && key == "bandwidth":
			v.Bandwidth, err = rate(value, "B/s")
		default:
			err = fmt.Errorf("%q is not written flops=400TFLOP/s,bandwidth=3TB/s", s)
		}
		if err != nil {
			return v, err
		}
	}
	if v.FLOPs == 0 {
		return v, errors.New("a speed needs flops, such as flops=400TFLOP/s")
	}
	return v, nil
}

// Sample is a measured exchange: of each rank with each other, so many bytes each way.
type Sample struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// Fit finds the link whose predictions for exchanges between two ranks are nearest to what was measured, by least squares of the
// relative error, so that small messages count as much as large ones. Both parameters are at least 0.
func Fit(samples []Sample) (Link, error) {
	// t ≈ a + b n, divided by t: minimise the sum of (1 - a/t - b n/t)².
	var s11, s12, s22, s1, s2 float64
	for _, x := range samples {
		if x.Seconds <= 0 {
			return Link{}, fmt.Errorf("%d bytes took %g s", x.Bytes, x.Seconds)
		}
		u, v := 1/x.Seconds, float64(x.Bytes)/x.Seconds
		s11, s12, s22, s1, s2 = s11+u*u, s12+u*v, s22+v*v, s1+u, s2+v
	}
	det := s11*s22 - s12*s12
	if len(samples) < 2 || det <= 1e-12*s11*s22 {
		return Link{}, errors.New("a link is fitted to exchanges of at least two sizes")
	}
	a, b := (s1*s22-s2*s12)/det, (s2*s11-s1*s12)/det
	if a < 0 {
		a, b = 0, s2/s22
	}
	if b <= 0 {
		return Link{}, errors.New("larger exchanges did not take longer: the link cannot be fitted")
	}
	return Link{Latency: a, Bandwidth: 1 / b}, nil
}
