package inference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"stepflow/dsl"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks/model"
	blocktokenizer "stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/program"
)

// Model is a model in a folder.
type Model struct {
	arch.Model
	Folder    string
	Tokenizer *tokenizer.Tokenizer
	Config    Config
	DType     gpu.DType // in which it computes: that of its weights, unless Open was told

	params  []ops.Param
	weights forward.Folder
}

// Config is what generation_config.json says of generation.
type Config struct {
	forward.Sampling
	NewTokens int     // max_new_tokens; 0 where it says nothing
	Stop      []int32 // tokens that end a text
}

// Open opens the model in a folder, which is to compute in an element type; gpu.InvalidDType for that of its weights.
func Open(folder string, as gpu.DType) (*Model, error) {
	m := &Model{Folder: folder, DType: as}
	var err error
	if m.Model, m.weights.Folder, err = model.Open(folder); err != nil {
		return nil, err
	}
	if err := m.read(); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Close closes the files of the weights.
func (m *Model) Close() error { return m.weights.Close() }

// read reads what lies beside the weights.
func (m *Model) read() (err error) {
	m.params = m.Declare(make([]string, m.NumHiddenLayers))
	for i := range m.params {
		m.params[i].ID = m.params[i].Name
	}
	if m.DType == gpu.InvalidDType {
		if m.DType = gpu.F32; m.weights.DType(arch.EmbedTokens) == "BF16" {
			m.DType = gpu.BF16
		}
	}
	path := filepath.Join(m.Folder, checkpoint.TokenizerFile)
	if m.Tokenizer, err = blocktokenizer.Read(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s has no %s: take it from where the model comes from", m.Folder, checkpoint.TokenizerFile)
	} else if err != nil {
		return err
	}
	if n := m.Tokenizer.VocabSize(); n > m.VocabSize {
		return fmt.Errorf("the model's vocab_size is %d, and %s has %d tokens", m.VocabSize, path, n)
	}
	if m.weights.Adapter, err = forward.OpenAdapter(m.Folder); err != nil {
		return err
	}
	return m.readConfig()
}

// maxConfig bounds a generation_config.json.
const maxConfig = 1 << 20

// readConfig reads generation_config.json, where there is one. As in transformers, nothing is sampled unless do_sample is
// true, and top_k is 50 then unless it says otherwise.
func (m *Model) readConfig() error {
	m.Config = Config{Sampling: forward.Sampling{TopP: 1, RepetitionPenalty: 1}}
	if m.Tokenizer.EOS >= 0 {
		m.Config.Stop = []int32{m.Tokenizer.EOS}
	}
	path := filepath.Join(m.Folder, checkpoint.GenerationFile)
	b, err := foreign.ReadFile(path, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var c struct {
		DoSample          bool            `json:"do_sample"`
		Temperature       *float64        `json:"temperature"`
		TopK              *int            `json:"top_k"`
		TopP              *float64        `json:"top_p"`
		RepetitionPenalty *float64        `json:"repetition_penalty"`
		NewTokens         *int            `json:"max_new_tokens"`
		EOS               json.RawMessage `json:"eos_token_id"`
	}
	if err := foreign.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	g := &m.Config
	if c.DoSample {
		g.Temperature, g.TopK = 1, 50
		set(&g.Temperature, c.Temperature)
		set(&g.TopK, c.TopK)
		set(&g.TopP, c.TopP)
	}
	set(&g.RepetitionPenalty, c.RepetitionPenalty)
	set(&g.NewTokens, c.NewTokens)
	if err := m.addStop(c.EOS); err != nil {
		return fmt.Errorf("reading %s: eos_token_id: %w", path, err)
	}
	if err := g.Check(); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// addStop adds the tokens of eos_token_id, which is a number or a list of them, to those that end a text.
func (m *Model) addStop(raw json.RawMessage) error {
	var one *int32
	var all []int32
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		if err := json.Unmarshal(raw, &one); err != nil {
			return errors.New("it is neither a token nor a list of tokens")
		}
		if one != nil {
			all = []int32{*one}
		}
	}
	for _, id := range all {
		if !slices.Contains(m.Config.Stop, id) {
			m.Config.Stop = append(m.Config.Stop, id)
		}
	}
	return nil
}

// Check returns what is wrong with the numbers; nil if nothing is.
func (c *Config) Check() error {
	switch {
	case !(c.Temperature >= 0 && c.Temperature <= 1e6):
		return fmt.Errorf("temperature is %g: it is 0, for the likeliest token, up to 1000000", c.Temperature)
	case c.TopK < 0:
		return fmt.Errorf("top_k is %d: it is 0, for all tokens, or more", c.TopK)
	case !(c.TopP > 0 && c.TopP <= 1):
		return fmt.Errorf("top_p is %g: it is more than 0, and 1 at most", c.TopP)
	case !(c.RepetitionPenalty > 0 && c.RepetitionPenalty <= 1e6):
		return fmt.Errorf("repetition_penalty is %g: it is more than 0, and 1000000 at most", c.RepetitionPenalty)
	case c.NewTokens < 0: // 0 where a file says nothing
		return fmt.Errorf("max_new_tokens is %d: it is at least 1", c.NewTokens)
	}
	return nil
}

// Generator loads the model on a device, to continue so many texts at once. A text and its continuation have so many tokens
// at most.
func (m *Model) Generator(ctx context.Context, d gpu.Device, texts, tokens int) (*forward.Generator, error) {
	if err := program.Computes(d.Caps(), m.DType); err != nil {
		return nil, err
	}
	x := program.Inference{Model: m.Model, Params: m.params, DType: m.DType, Context: max(tokens-1, 1), Texts: texts}
	caps := d.Caps()
	p, err := program.NewPrograms(caps).Inference(&x)
	if err != nil {
		return nil, err
	}
	if caps.Memory > 0 && p.ArenaBytes > caps.Memory {
		return nil, fmt.Errorf("the model takes %s with %d tokens, and the device has %s: ask for fewer tokens, or use another device",
			dsl.FormatBytes(p.ArenaBytes), tokens, dsl.FormatBytes(caps.Memory))
	}
	return forward.FillGenerator(ctx, d, p, x, &m.weights)
}
