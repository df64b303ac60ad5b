package main

import (
	"errors"
	"flag"
	"fmt"

	"stepflow/runtime/inference"
)

// sampling are the flags that say how text is generated, under the names of transformers' generation config. Those that
// are not given are taken from the model's generation_config.json.
type sampling struct {
	flags     *flag.FlagSet
	config    inference.Config
	seed      int64
	stop      []string // strings
	precision string
}

// usualNewTokens is how many tokens follow a prompt, unless a flag or the model says otherwise.
const usualNewTokens = 256

func (s *sampling) add(a *app, f *flag.FlagSet) {
	inspectFlags(a, f)
	s.flags, s.stop = f, nil
	c := &s.config
	f.IntVar(&c.NewTokens, "max-new-tokens", usualNewTokens, "tokens to add, at most")
	f.Float64Var(&c.Temperature, "temperature", 0, "0 takes the likeliest token; else tokens are drawn, and more is more varied")
	f.IntVar(&c.TopK, "top-k", 0, "draw from so many of the likeliest tokens; 0 for all")
	f.Float64Var(&c.TopP, "top-p", 1, "draw from the fewest tokens that have this probability together")
	f.Float64Var(&c.RepetitionPenalty, "repetition-penalty", 1, "divides the logits of tokens that stand in the text; 1 for none")
	f.Int64Var(&s.seed, "seed", 0, "seed of the tokens that are drawn")
	f.Func("stop-strings", "end before this text; can be repeated", func(x string) error {
		if x == "" {
			return errors.New("it is empty")
		}
		s.stop = append(s.stop, x)
		return nil
	})
	f.StringVar(&s.precision, "precision", "auto", "precision to compute in: fp32, bf16, or auto for the precision of the weights")
	f.StringVar(&a.device, "device", "cpu", "device to run on: cpu, cuda or cuda:N for card N")
	f.IntVar(&a.threads, "threads", 0, "threads of the CPU device; 0 for one a processor")
}

// of returns what a model is sampled with: the flags that were given, and for others what the model says.
func (s *sampling) of(m *inference.Model) (inference.Config, error) {
	c := m.Config
	given := map[string]func(){
		"max-new-tokens": func() { c.NewTokens = s.config.NewTokens }, "temperature": func() { c.Temperature = s.config.Temperature },
		"top-k": func() { c.TopK = s.config.TopK }, "top-p": func() { c.TopP = s.config.TopP },
		"repetition-penalty": func() { c.RepetitionPenalty = s.config.RepetitionPenalty },
	}
	if c.NewTokens == 0 {
		c.NewTokens = s.config.NewTokens
	}
	s.flags.Visit(func(f *flag.Flag) {
		if set := given[f.Name]; set != nil {
			set()
		}
	})
	c.Seed = uint64(s.seed)
	if c.NewTokens < 1 {
		return c, fmt.Errorf("-max-new-tokens is %d: it is at least 1", c.NewTokens)
	}
	return c, c.Check()
}
