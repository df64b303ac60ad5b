package runtime

import (
	"errors"
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
)

// How much there is to train on and to measure is counted when a plan is made, or estimated.

// unusable is an error of measuring that says that a tokenizer cannot be used on data, or that those hold nothing; others are met where
// a run reads them.
func unusable(err error) error {
	var none fineweb.NoDocuments
	if errors.Is(err, tokenizer.ErrTooCostly) || errors.Is(err, tokenizer.ErrNoUnknown) || errors.Is(err, fineweb.ErrDType) || errors.As(err, &none) {
		return err
	}
	return nil
}

// unfit reports such an error at the attribute that names the data, or the tokenizer.
func unfit(d *dsl.Decoded, data string, err error) hcl.Diagnostics {
	if none := (fineweb.NoDocuments{}); errors.As(err, &none) {
		return problem(d, data, "No documents", err)
	}
	return problem(d, "tokenizer", "Unusable tokenizer", err)
}

// size measures or estimates the tokens to train on, once a plan; ok is false where nothing can be said. Of errors, which a
// run meets where it reads, only that the tokenizer cannot be used on the data is told.
// It is an error too if the data hold nothing to train on. t is nil where there is no tokenizer.
func (p *planner) size(n *Data, t *Tokenizer) (size fineweb.Size, ok bool, err error) {
	if n.Unseen != "" {
		return size, false, nil
	}
	if size, ok := n.sizes[t]; ok {
		return size, size.Tokens > 0, nil
	}
	if n.Parts != nil {
		tokens := make([]float64, len(n.Parts))
		for i, part := range n.Parts {
			s, ok, err := p.size(part, t)
			if !ok {
				return fineweb.Size{}, false, err
			}
			if tokens[i] = float64(s.Tokens); i == 0 || s.How != fineweb.Exact {
				size.How = s.How
			}
		}
		size.Tokens = int64(onePass(n.Sources(p.ctx), tokens))
	} else {
		var tok *tokenizer.Tokenizer
		if t != nil {
			tok = p.trained(t)
		}
		if size, err = fineweb.Measure(n.Source, tok, fineweb.Train); err != nil {
			return fineweb.Size{}, false, unusable(err)
		}
	}
	n.sizes[t] = size
	return size, size.Tokens > 0, nil
}

// heldSize measures or estimates the tokens of a split, once a plan; none where nothing can be said. Parts of a mixture may hold nothing,
// if not all do.
func (p *planner) heldSize(n *Data, t *Tokenizer, split fineweb.Split) (sum fineweb.Size, err error) {
	if n.Unseen != "" {
		return sum, nil
	}
	var none error
	some := false
	for _, part := range n.sources() {
		key := splitSize{t, split}
		size, ok := part.held[key]
		if !ok {
			size, err = fineweb.Measure(part.Source, p.trained(t), split)
			if errors.As(err, &fineweb.NoDocuments{}) {
				none = err
				continue
			}
			if err != nil {
				return fineweb.Size{}, unusable(err)
			}
			if part.held == nil {
				part.held = map[splitSize]fineweb.Size{}
			}
			part.held[key] = size
		}
		if size.Tokens == 0 {
			return fineweb.Size{}, nil
		}
		some = true
		sum.Tokens += size.Tokens
		if sum.How == "" || size.How != fineweb.Exact {
			sum.How = size.How
		}
	}
	if !some {
		return sum, none
	}
	return sum, nil
}

// splitSize names the size of a split in tokens of a tokenizer.
type splitSize struct {
	tokenizer *Tokenizer
	split     fineweb.Split
}

// effortOf names what an evaluation measures of its data, apart from the model.
type effortOf struct {
	tokenizer *Tokenizer
	windows   fineweb.Windows
	join      string
}

// effort counts what an evaluation measures, once a plan; nothing where that cannot be said.
func (p *planner) effort(e *Evaluation) (fineweb.Effort, error) {
	tok := p.trained(e.Tokenizer)
	if e.Data.Unseen != "" || tok == nil {
		return fineweb.Effort{}, nil
	}
	key := effortOf{tokenizer: e.Tokenizer, windows: e.Windows}
	if key.windows.Batch = 0; e.Windows.Join != nil {
		key.join, key.windows.Join = "joined with "+*e.Windows.Join, nil
	}
	if x, ok := e.Data.efforts[key]; ok {
		return x, nil
	}
	set, err := e.Windows.Open(e.Data.Sources(p.ctx))
	if err != nil {
		return fineweb.Effort{}, nil // what opens the data for the plan says it
	}
	defer set.Close()
	x, err := set.Effort(tok, e.Windows)
	if err != nil {
		return x, unusable(err)
	}
	if e.Data.efforts == nil {
		e.Data.efforts = map[effortOf]fineweb.Effort{}
	}
	e.Data.efforts[key] = x
	return x, nil
}

// holdsText is an error if data are known to hold nothing to train on.
func (p *planner) holdsText(n *Data) error {
	var none error
	for _, part := range n.sources() {
		_, _, err := p.size(part, nil)
		if err == nil {
			return nil
		}
		none = err
	}
	return none
}

// tooSmall says that data that are no mixture are known to hold less than the batches of a stage take.
func (p *planner) tooSmall(s *Stage, before float64) error {
	size, _, err := p.size(s.Data, s.Tokenizer)
	if err != nil || size.Most == 0 || !wraps(float64(size.Most), s.Data.Source.Epochs, before, float64(s.Batch)*float64(s.Seq), float64(s.Steps)) {
		return nil
	}
	return fmt.Errorf("%s, less than one batch of %d sequences of %d tokens. Lower sequence_length or batch_size, or give it more text",
		holdsTokens(s.Data, size), s.Batch, s.Seq)
}

// holdsTokens says how much is known to be there at most.
func holdsTokens(n *Data, size fineweb.Size) string {
	most := ""
	if size.How != fineweb.Exact {
		most = "at most "
	}
	return fmt.Sprintf("%s holds %s%d tokens to train on", n.Addr, most, size.Most)
}

// wraps reports whether one of so many draws of each tokens goes over the end of the data more than once, which a run refuses. The first
// of a draw's tokens is the target of the last one before. Data that may be read so many epochs, if not 0, do not start over after them.
func wraps(tokens float64, epochs int64, before, each, draws float64) bool {
	if each <= tokens {
		return false
	}
	const most = 1 << 16
	ends := func(read float64) float64 {
		if n := math.Ceil((read+1)/tokens) - 1; epochs == 0 || n < float64(epochs) {
			return n
		}
		return float64(epochs - 1)
	}
	for i := range int(min(draws, most)) {
		if from := before + float64(i)*each; ends(from+each)-ends(from) > 1 {
			return true
		}
	}
	return false
}
