package cuda

import (
	"fmt"
	"slices"
	"strings"
)

// Model is a kind of card that a plan can be made for without one.
type Model struct {
	Name         string `json:"name"`
	Memory       int64  `json:"memory_bytes"` // as the driver reports it, which with ECC is less than is printed on the box
	Major, Minor int    `json:"-"`            // compute capability
}

const mib = 1 << 20

// Models are the cards that models are usually trained on, the largest first. Memory is the total that nvidia-smi shows,
// compute capabilities are those of developer.nvidia.com/cuda-gpus.
var Models = []Model{
	{"H200", 143771 * mib, 9, 0},
	{"A100 80GB", 81920 * mib, 8, 0},
	{"H100 80GB", 81559 * mib, 9, 0},
	{"RTX 6000 Ada", 49140 * mib, 8, 9},
	{"RTX A6000", 49140 * mib, 8, 6},
	{"L40S", 46068 * mib, 8, 9},
	{"A100 40GB", 40960 * mib, 8, 0},
	{"RTX 5090", 32607 * mib, 12, 0},
	{"RTX 3090", 24576 * mib, 8, 6},
	{"RTX 4090", 24564 * mib, 8, 9},
	{"L4", 23034 * mib, 8, 9},
	{"A10", 23028 * mib, 8, 6},
	{"RTX 4080", 16376 * mib, 8, 9},
	{"T4", 15360 * mib, 7, 5},
	{"RTX 4060", 8188 * mib, 8, 9},
}

// FindModel finds a card by its name, in which case, spaces and the maker's words do not count.
func FindModel(name string) (Model, bool) {
	short := strings.NewReplacer("nvidia", "", "geforce", "", " ", "", "-", "", "_", "")
	key := func(s string) string { return short.Replace(strings.ToLower(s)) }
	for _, m := range Models {
		if key(m.Name) == key(name) {
			return m, true
		}
	}
	return Model{}, false
}

// Named lists the models that have a text as a word of their name, such as 3090.
func Named(text string) (names []string) {
	for _, m := range Models {
		if slices.Contains(strings.Fields(strings.ToLower(m.Name)), strings.ToLower(text)) {
			names = append(names, m.Name)
		}
	}
	return names
}

// Capability is the compute capability in the words of NVIDIA, such as 8.9.
func (m Model) Capability() string { return fmt.Sprintf("%d.%d", m.Major, m.Minor) }

// Usable reports whether the kernels run on it.
func (m Model) Usable() bool { return Card{Major: m.Major}.Usable() }
