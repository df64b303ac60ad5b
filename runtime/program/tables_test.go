package program

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"stepflow/gpu"
	"stepflow/gpu/cuda"
	"stepflow/runtime/scaling"
)

var update = flag.Bool("update", false, "write the tables of docs/scaling.md")

// paperSizes are those of pipelines/paper.
var paperSizes = []struct {
	name                        string
	hidden, intermediate, heads int
}{{"368M", 1024, 2736, 16}, {"1.2B", 2048, 5461, 16}}

// TestScalingTables holds the tables of docs/scaling.md to the programs.
func TestScalingTables(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles many programs")
	}
	const page = "../../docs/scaling.md"
	b, err := os.ReadFile(page)
	must(t, err)
	const from, to = "-update -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(b), from)
	old, after, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatal("no place for the tables")
	}
	made := scalingTables(t)
	if *update {
		must(t, os.WriteFile(page, []byte(before+from+made+to+after), 0o644))
	} else if made != old {
		t.Errorf("the tables differ: -update writes them\n%s", made)
	}
}

func scalingTables(t *testing.T) string {
	link, err := scaling.ParseLink("NDR")
	must(t, err)
	speed := scaling.Speed{FLOPs: 400e12, Bandwidth: 4.8e12}
	p := NewPrograms(cuda.PlanCaps("H200", 141<<30))
	var out strings.Builder
	for _, x := range []struct {
		title string
		ranks []int
		batch func(ranks int) int
	}{
		{"Strong scaling: 256 sequences a step", []int{8, 256}, func(int) int { return 256 }},
		{"Weak scaling: 4 sequences a rank", []int{8, 1024}, func(n int) int { return 4 * n }},
	} {
		fmt.Fprintf(&out, "\n### %s\n\n| model | ranks | shard | a rank | sent a step | step | waiting | tokens/s of a rank |\n"+
			"|---|--:|---|--:|--:|--:|--:|--:|\n", x.title)
		for _, size := range paperSizes {
			s := sized(size.hidden, size.intermediate, size.heads)
			row := func(n int, shard Shard) {
				s.Batch = x.batch(n)
				y, err := p.Scale(s, n, shard, "none", speed, link)
				must(t, err)
				fmt.Fprintf(&out, "| %s | %d | `%s` | %.2f GiB | %.2f GB | %s | %.1f %% | %.0f |\n", size.name, n, shard,
					float64(y.Bytes)/(1<<30), float64(y.Sent)/1e9, seconds(y.Seconds), 100*y.Exposed/y.Seconds,
					float64(s.Batch*s.Seq)/y.Seconds/float64(n))
			}
			row(1, ShardNone)
			for _, n := range x.ranks {
				for _, shard := range Shards {
					row(n, shard)
				}
			}
		}
	}
	return out.String() + "\n"
}

// sized is a stage of one of the paper's sizes.
func sized(hidden, intermediate, heads int) *Stage {
	s := stageOf(24)
	m := &s.Model
	m.HiddenSize, m.IntermediateSize, m.VocabSize = hidden, intermediate, 32000
	m.NumAttentionHeads, m.NumKeyValueHeads, m.HeadDim = heads, heads, hidden/heads
	s.Params = m.Declare(s.LayerIDs())
	s.DType, s.Micro, s.Seq = gpu.BF16, 1, 1024
	return s
}

// seconds writes a time with three digits.
func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.3g ms", 1e3*s)
	}
	return fmt.Sprintf("%.3g s", s)
}
