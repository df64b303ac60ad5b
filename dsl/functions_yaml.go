package dsl

import (
	"errors"
	"fmt"

	"github.com/zclconf/go-cty/cty/function"
	"go.yaml.in/yaml/v3"
)

// yamlCost returns the weight of what a YAML text stands for, with its aliases written out: a few lines of them can
// stand for billions of values. It refuses texts that nest further than values may.
func yamlCost(text string) (float64, error) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(text), &root); err != nil {
		return 0, function.NewArgError(0, err)
	}
	return (&yamlWeights{known: map[*yaml.Node]float64{}}).of(&root, 0)
}

// yamlWeights are the weights of nodes with an anchor. They are -1 as long as they are counted.
type yamlWeights struct{ known map[*yaml.Node]float64 }

func (w *yamlWeights) of(n *yaml.Node, depth int) (float64, error) {
	if depth > maxNesting {
		return 0, function.NewArgErrorf(0, "line %d: more than %d levels are inside each other", n.Line, maxNesting)
	}
	if n.Kind == yaml.AliasNode {
		sum, ok := w.known[n.Alias]
		if !ok || sum < 0 {
			return 0, function.NewArgError(0, fmt.Errorf("line %d: the alias *%s stands inside its own anchor", n.Line, n.Value))
		}
		return sum, nil
	}
	if n.Anchor != "" {
		w.known[n] = -1
	}
	sum := elementCost + float64(len(n.Value))
	for _, x := range n.Content {
		more, err := w.of(x, depth+1)
		if err != nil {
			return 0, err
		}
		sum += more
	}
	if sum > maxValue {
		return 0, function.NewArgError(0, errors.New("the value is too large with its aliases written out"))
	}
	if n.Anchor != "" {
		w.known[n] = sum
	}
	return sum, nil
}
