package scaling

import (
	"math"
	"strings"
	"sync"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cpu"
	"stepflow/gpu/gputest"
)

// counting counts what a rank hands to other ranks.
type counting struct {
	gpu.Communicator
	sent, received int64
	messages       int
}

func (c *counting) Exchange(send, recv [][]byte) error {
	out, in := 0, 0
	for r := range send {
		if r == c.Rank() {
			continue
		}
		c.sent, c.received = c.sent+int64(len(send[r])), c.received+int64(len(recv[r]))
		if len(send[r]) > 0 {
			out++
		}
		if len(recv[r]) > 0 {
			in++
		}
	}
	c.messages += max(out, in)
	return c.Communicator.Exchange(send, recv)
}

func (c *counting) Broadcast(root int, b []byte) error {
	if c.Rank() == root {
		c.sent += int64(len(b)) * int64(c.Size()-1)
	} else {
		c.received += int64(len(b))
	}
	return c.Communicator.Broadcast(root, b)
}

// TestTraffic compares what is said of collectives with what the CPU device sends.
func TestTraffic(t *testing.T) {
	for _, ranks := range []int{2, 3, 4} {
		for _, kernel := range []string{"all_reduce", "reduce", "bcast"} {
			for _, n := range []int{64, 1000, gpu.CollectivePiece + 12345} {
				l := collective(kernel, ranks, n)
				want := Of(&l.Launches[0])
				comms := gputest.Ranks(ranks)
				counts := make([]*counting, ranks)
				var all sync.WaitGroup
				for r := range ranks {
					counts[r] = &counting{Communicator: comms[r]}
					all.Go(func() {
						if err := run(counts[r], l); err != nil {
							t.Error(err)
							comms[r].Abort(err)
						}
					})
				}
				all.Wait()
				var got Traffic
				for _, c := range counts {
					got.Sent += c.sent
					got.Messages = max(got.Messages, c.messages)
					got.Most = max(got.Most, c.sent, c.received)
				}
				if got.Sent != want.Sent {
					t.Errorf("%s of %d on %d ranks: %d bytes are sent, said %d", kernel, n, ranks, got.Sent, want.Sent)
				}
				if kernel != "bcast" && (got.Messages > want.Messages || got.Most > want.Most) {
					t.Errorf("%s of %d on %d ranks: %+v, said %+v", kernel, n, ranks, got, want)
				}
				if kernel != "bcast" && n > ranks*64*8 && (got.Messages != want.Messages || got.Most != want.Most) {
					t.Errorf("%s of %d on %d ranks: %+v, said %+v", kernel, n, ranks, got, want)
				}
			}
		}
	}
}

// collective is a program of one collective.
func collective(kernel string, ranks, n int) *gpu.Program {
	k, a := gpu.Lookup(kernel), gpu.Attrs{Ranks: ranks}
	if kernel != "all_reduce" {
		a.Root = ranks - 1
	}
	o := gpu.Operand{Type: gpu.Type{Shape: gpu.Shape{n}, DType: gpu.BF16}}
	x := gpu.Launch{Kernel: kernel, Attrs: a, In: []gpu.Operand{o}, Out: []gpu.Operand{o}, Layer: -1}
	at := gpu.Align(o.Type.Bytes(), 64)
	if k.Scratch != nil {
		scratch := k.Scratch(a, []gpu.Type{o.Type}, nil)
		x.Scratch = gpu.Operand{Offset: at, Type: gpu.Type{Shape: gpu.Shape{int(scratch+3) / 4}, DType: gpu.F32}}
		at += gpu.Align(scratch, 64)
	}
	return &gpu.Program{ArenaBytes: at, Launches: []gpu.Launch{x}, Segments: []gpu.Segment{{Name: "all", Hi: 1}}}
}

func run(c gpu.Communicator, p *gpu.Program) error {
	d, err := cpu.Open(1, "")
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Join(c); err != nil {
		return err
	}
	l, err := d.Load(p)
	if err != nil {
		return err
	}
	defer l.Close()
	return l.Run(0, 1, false)
}

// TestPredict has two products, a sum over ranks that needs the first, and an update that needs the sum.
func TestPredict(t *testing.T) {
	sum := collective("all_reduce", 2, 1000).Launches[0]
	sum.Deps = []int32{0}
	p := &gpu.Program{Launches: []gpu.Launch{{Kernel: "matmul", FLOPs: 100}, sum, {Kernel: "matmul", FLOPs: 300, Deps: []int32{0}},
		{Kernel: "add", Bytes: 50, Deps: []int32{1, 2}}}, Segments: []gpu.Segment{{Name: "micro", Hi: 4}}}
	traffic := Of(&sum)
	for _, x := range []struct {
		name                      string
		link                      Link
		compute, exposed, seconds float64
	}{
		{"hidden", Link{Bandwidth: float64(traffic.Most)}, 2 * (1 + 3 + 5), 0, 2 * (1 + 3 + 5)},               // 1 s beside 3 s
		{"not hidden", Link{Bandwidth: float64(traffic.Most) / 10}, 2 * (1 + 3 + 5), 2 * 7, 2 * (1 + 10 + 5)}, // 10 s beside 3 s
		{"latency", Link{Latency: 2, Bandwidth: math.Inf(1)}, 2 * (1 + 3 + 5), 2 * 1, 2 * (1 + 4 + 5)},        // 2 messages of 2 s
	} {
		s := Predict(p, []Part{{"micro", 2}, {"none of it", 1}}, Speed{FLOPs: 100, Bandwidth: 10}, x.link)
		if s.Compute != x.compute || s.Exposed != x.exposed || s.Seconds != x.seconds || s.Sent != 2*traffic.Sent/2 {
			t.Errorf("%s: %+v", x.name, s)
		}
	}
	if s := Predict(p, []Part{{"micro", 1}}, Speed{}, Link{}); s.Seconds != 0 || s.Sent != traffic.Sent/2 {
		t.Errorf("without a speed: %+v", s)
	}
}

func TestFit(t *testing.T) {
	want := Link{Latency: 7e-6, Bandwidth: 3e9}
	var samples []Sample
	for n := int64(1 << 10); n <= 1<<24; n *= 4 {
		samples = append(samples, Sample{n, want.Latency + float64(n)/want.Bandwidth})
	}
	got, err := Fit(samples)
	if err != nil || math.Abs(got.Latency/want.Latency-1) > 1e-6 || math.Abs(got.Bandwidth/want.Bandwidth-1) > 1e-6 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range [][]Sample{nil, {{1, 1}}, {{1, 1}, {1, 1}}, {{1, 0}, {2, 1}}, {{1, 2}, {1000, 1}}} {
		if l, err := Fit(bad); err == nil {
			t.Errorf("%v: %+v", bad, l)
		}
	}
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Link{
		"latency=5us,bandwidth=25GB/s": {"", 5e-6, 25e9},
		"bandwidth=1.5MB/s":            {"", 0, 1.5e6},
		"ndr":                          {"NDR", 2e-6, 50e9},
	} {
		if l, err := ParseLink(text); err != nil || math.Abs(l.Latency-want.Latency) > 1e-12 || l.Bandwidth != want.Bandwidth || l.Name != want.Name {
			t.Errorf("%s: %+v, %v", text, l, err)
		}
	}
	for text, want := range map[string]string{
		"": "is neither a link", "latency=5us": "needs a bandwidth", "bandwidth=25": "not an amount", "bandwidth=-1GB/s": "not an amount",
		"latency=5,bandwidth=1GB/s": "not a time", "speed=1GB/s": "is neither a link", "bandwidth=NaNGB/s": "not an amount",
	} {
		if _, err := ParseLink(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if v, err := ParseSpeed("flops=400TFLOP/s,bandwidth=3TB/s"); err != nil || v != (Speed{400e12, 3e12}) {
		t.Errorf("%+v, %v", v, err)
	}
	for _, text := range []string{"", "flops=4", "bandwidth=3TB/s", "flops=1TFLOP/s,x=1"} {
		if v, err := ParseSpeed(text); err == nil {
			t.Errorf("%q: %+v", text, v)
		}
	}
}
