package data

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/runtime/blocks"
)

// A plan counts or estimates how much data there is to train on and to measure.

// unusable returns err if it says that the tokenizer cannot be used on the data, or that the data hold nothing; nil
// otherwise. A run reports other errors where it reads the data.
func unusable(err error) error {
	var none fineweb.NoDocuments
	if errors.Is(err, tokenizer.ErrTooCostly) || errors.Is(err, tokenizer.ErrNoUnknown) || errors.Is(err,
		fineweb.ErrDType) || errors.As(err, &none) {
		return err
	}
	return nil
}

// Unfit reports an error of Size, HeldSize or Effort at the attribute that names the data, or the tokenizer.
func Unfit(d *dsl.Decoded, data string, err error) hcl.Diagnostics {
	if none := (fineweb.NoDocuments{}); errors.As(err, &none) {
		return blocks.Problem(d, data, "No documents", err)
	}
	return blocks.Problem(d, "tokenizer", "Unusable tokenizer", err)
}

// Size measures or estimates the tokens to train on, once a plan; ok is false if it cannot. tok is nil if the tokenizer
// is not trained yet, or there is none. Its errors say that the tokenizer cannot be used on the data, or that the data
// hold nothing to train on; a run reports other errors where it reads the data.
func (n *Data) Size(ctx context.Context, tok *tokenizer.Tokenizer) (size fineweb.Size, ok bool, err error) {
	if n.Unseen != "" {
		return size, false, nil
	}
	if size, ok := n.sizes[tok]; ok {
		return size, size.Tokens > 0, nil
	}
	if n.Parts == nil {
		if size, err = fineweb.Measure(ctx, n.Source, tok, fineweb.Train); err != nil {
			return fineweb.Size{}, false, unusable(err)
		}
		n.sizes[tok] = size
		return size, size.Tokens > 0, nil
	}
	tokens := make([]float64, len(n.Parts))
	for i, part := range n.Parts {
		s, ok, err := part.Size(ctx, tok)
		if !ok {
			return fineweb.Size{}, false, err
		}
		if tokens[i] = float64(s.Tokens); i == 0 || s.How != fineweb.Exact {
			size.How = s.How
		}
	}
	size.Tokens = int64(onePass(n.Sources(), tokens))
	n.sizes[tok] = size
	return size, size.Tokens > 0, nil
}

// HeldSize measures or estimates the tokens of a split, once a plan; it returns 0 if it cannot. Some parts of a mixture
// may hold nothing, but not all. tok is nil if the tokenizer is not trained yet.
func (n *Data) HeldSize(ctx context.Context, tok *tokenizer.Tokenizer, split fineweb.Split) (sum fineweb.Size, err error) {
	if n.Unseen != "" {
		return sum, nil
	}
	var none error
	some := false
	for _, part := range n.InFiles() {
		key := splitSize{tok, split}
		size, ok := part.held[key]
		if !ok {
			size, err = fineweb.Measure(ctx, part.Source, tok, split)
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
	tokenizer *tokenizer.Tokenizer
	split     fineweb.Split
}

// effortOf names what an evaluation measures of its data, apart from the model.
type effortOf struct {
	tokenizer *tokenizer.Tokenizer
	windows   fineweb.Windows
	join      string
}

// Effort counts what an evaluation measures in windows, once a plan. It returns nothing if it cannot, as without a
// tokenizer.
func (n *Data) Effort(ctx context.Context, tok *tokenizer.Tokenizer, w fineweb.Windows) (fineweb.Effort, error) {
	if n.Unseen != "" || tok == nil {
		return fineweb.Effort{}, nil
	}
	key := effortOf{tokenizer: tok, windows: w}
	if key.windows.Batch = 0; w.Join != nil {
		key.join, key.windows.Join = "joined with "+*w.Join, nil
	}
	if x, ok := n.efforts[key]; ok {
		return x, nil
	}
	set, err := w.Open(ctx, n.Sources())
	if err != nil {
		return fineweb.Effort{}, nil // reported where the plan opens the data
	}
	defer set.Close()
	x, err := set.Effort(tok, w)
	if err != nil {
		return x, unusable(err)
	}
	if n.efforts == nil {
		n.efforts = map[effortOf]fineweb.Effort{}
	}
	n.efforts[key] = x
	return x, nil
}

// Takes is what measuring documents takes.
type Takes struct {
	Tokens    int64       // that are predicted; 0 if that is known only when the data are read
	How       fineweb.How // Tokens are known
	Sequences int64       // of Windows.Length tokens, the last one filled up
	Whole     bool        // they were all counted
}

// Takes counts what measuring n takes if that is little, and else estimates it.
func (n *Data) Takes(ctx context.Context, tok *tokenizer.Tokenizer, w fineweb.Windows) (t Takes, err error) {
	if n.Conversations() { // it takes a stage to say how they become tokens
		return t, nil
	}
	effort, err := n.Effort(ctx, tok, w)
	if err != nil {
		return t, err
	}
	if t = (Takes{effort.Tokens, fineweb.Exact, effort.Sequences, effort.Whole}); effort.Whole {
		return t, nil
	}
	size, err := n.HeldSize(ctx, tok, w.Split)
	if err != nil || size.Tokens == 0 {
		return Takes{}, err
	}
	if t.Tokens, t.How = size.Tokens, size.How; t.How == fineweb.Exact { // of the documents, not of the predicted tokens
		t.How = fineweb.BySample
	}
	if w.Limit > 0 {
		t.Tokens = min(t.Tokens, w.Limit)
	}
	t.Sequences = w.Sequences(t.Tokens)
	if effort.Tokens > 0 && w.Join == nil {
		t.Sequences = int64(math.Ceil(float64(t.Tokens) * float64(effort.Sequences) / float64(effort.Tokens)))
	}
	return t, nil
}

// HoldsText returns an error if data are known to hold nothing to train on.
func (n *Data) HoldsText(ctx context.Context) error {
	var none error
	for _, part := range n.InFiles() {
		_, _, err := part.Size(ctx, nil)
		if err == nil {
			return nil
		}
		none = err
	}
	return none
}

// HoldsTokens writes how many tokens the data hold at most.
func (n *Data) HoldsTokens(size fineweb.Size) string {
	most := ""
	if size.How != fineweb.Exact {
		most = "at most "
	}
	return fmt.Sprintf("%s holds %s%d tokens to train on", n.Addr, most, size.Most)
}

// Wraps reports whether one of so many draws, of each tokens, passes the end of the data more than once, which a run
// refuses. A draw's first token is the target of the last token of the draw before. Data with a limit of epochs, if not
// 0, do not start over after it.
func Wraps(tokens float64, epochs int64, before, each, draws float64) bool {
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

// onePass returns how many tokens a mixture gives before the first of its parts starts over. A part that may be read
// only once does not start over: it is used up, and the others go on by their weights.
func onePass(parts []fineweb.Weighted, tokens []float64) (sum float64) {
	level := math.Inf(1) // tokens per weight
	for i, x := range parts {
		if x.Source.Epochs != 1 {
			level = min(level, tokens[i]/x.Weight)
		}
	}
	for i, x := range parts {
		if x.Source.Epochs > 0 {
			sum += min(level*x.Weight, tokens[i]*float64(x.Source.Epochs))
		} else {
			sum += level * x.Weight
		}
	}
	return sum
}
