package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"stepflow/dsl"
	"stepflow/foreign"
	"stepflow/runtime/apply"
	"stepflow/runtime/forward"
	"stepflow/runtime/inference"
	"stepflow/runtime/words"
)

func generateCommand() command {
	var s sampling
	prompt, samples := "", 1
	return command{name: "generate", args: "[flags] STAGE | DIR", most: 1,
		short: "Continues a text with a trained model.",
		synopsis: "Continues a text with the model that a stage made, or that lies in a folder: an export, or one of Hugging " +
			"Face's. Of a stage that is still training it takes the latest checkpoint; it only reads, so it disturbs no run. " +
			"The text is -prompt, or what the standard input holds. Flags that are not given are taken from the model's " +
			"generation_config.json.",
		example: "stepflow generate -dir pipelines/quickstart -prompt 'Package sort implements' stage.final\n" +
			"stepflow generate -prompt 'Once upon a time' -temperature 0.8 -n 3 pipelines/quickstart/out/model",
		flags: func(a *app, f *flag.FlagSet) {
			s.add(a, f)
			f.StringVar(&prompt, "prompt", "", "text to continue (default: the standard input)")
			f.IntVar(&samples, "n", 1, "texts to generate, each drawn independently")
		},
		run: func(a *app, args []string) int {
			if len(args) != 1 {
				return a.misuse("stepflow generate: name a stage or a folder: stepflow generate -prompt TEXT stage.NAME")
			}
			if samples < 1 || samples > mostSamples {
				return a.misuse("stepflow generate: -n is 1 to %d", mostSamples)
			}
			given := false
			s.flags.Visit(func(f *flag.Flag) { given = given || f.Name == "prompt" })
			if !given {
				if in, ok := a.stdin.(*os.File); ok && isTerminal(in) {
					fmt.Fprintln(a.stderr, "The text to continue, then Ctrl-D:")
				}
				b, err := io.ReadAll(io.LimitReader(a.stdin, maxPrompt+1))
				if err == nil && len(b) > maxPrompt {
					err = fmt.Errorf("the prompt is longer than %s", dsl.FormatBytes(maxPrompt))
				}
				if err != nil {
					return a.fail(err)
				}
				prompt = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
			}
			if err := a.generate(args[0], &s, prompt, samples); err != nil {
				return a.fail(err)
			}
			return exitOK
		}}
}

// Bounds of what is asked for at once.
const (
	mostSamples = 1000
	maxPrompt   = 16 << 20
	atOnce      = 16 // texts
)

// generation holds the texts that are being generated from a prompt.
type generation struct {
	a       *app
	model   *inference.Model
	prompt  string
	streams []*forward.Stream
	written written
	live    bool // the text is written as it comes
}

// written is a model's text as it may be shown, piece by piece: a model writes no styles, and begins no line again. A line
// that ends as Windows ends lines does not show it.
type written struct{ carriage bool } // a carriage return is held back, since a line feed may follow

// add returns what is shown for a piece. The last one holds nothing back.
func (w *written) add(piece string, last bool) string {
	if w.carriage {
		piece = "\r" + piece
	}
	if w.carriage = !last && strings.HasSuffix(piece, "\r"); w.carriage {
		piece = piece[:len(piece)-1]
	}
	return foreign.ShownText(strings.ReplaceAll(piece, "\r\n", "\n"))
}

// generate continues a prompt, as often as samples says.
func (a *app) generate(arg string, s *sampling, prompt string, samples int) error {
	m, what, err := a.openTarget(arg, s.precision)
	if err != nil {
		return err
	}
	defer m.Close()
	c, err := s.of(m)
	if err != nil {
		return err
	}
	if samples > 1 && c.Temperature == 0 {
		return fmt.Errorf("-n %d would write the same text %d times, since the temperature is 0. Set -temperature", samples, samples)
	}
	ids, err := forward.PromptTokens(m.Tokenizer, prompt)
	if err != nil {
		return fmt.Errorf("the prompt: %w", err)
	}
	if len(ids) == 0 || ids[0] < 0 {
		return errors.New("the prompt is empty, and the tokenizer has no token that begins a text: give -prompt")
	}
	room := m.MaxPositionEmbeddings - len(ids)
	if room < 1 {
		return fmt.Errorf("the prompt has %d tokens, and the model's %s leaves no room for another: shorten the prompt",
			len(ids), m.Longest())
	}
	d, err := a.openDevice()
	if err != nil {
		return err
	}
	defer d.Close()
	cut := c.NewTokens > room
	c.NewTokens = min(c.NewTokens, room)
	g, err := m.Generator(a.ctx, d, min(samples, atOnce), len(ids)+c.NewTokens)
	if err != nil {
		return err
	}
	defer g.Close()
	if g.Flaw.Found() {
		a.warn(errors.New(g.Flaw.String()))
	}
	x := &generation{a: a, model: m, prompt: prompt, live: samples == 1 && !a.json}
	prompts := make([]forward.Prompt, samples)
	for n := range prompts {
		prompts[n] = forward.Prompt{IDs: ids, NewTokens: c.NewTokens, Stop: c.Stop, Sampling: c.Sampling, Draw: n}
		x.streams = append(x.streams, forward.NewStream(m.Tokenizer, ids, s.stop))
	}
	if x.live {
		fmt.Fprint(a.stdout, a.paint(bold, foreign.ShownText(prompt)))
	}
	began := time.Now()
	list, err := g.Generate(a.ctx, prompts, x.token)
	if err != nil {
		if x.live {
			fmt.Fprintln(a.stdout)
		}
		if a.ctx.Err() != nil {
			return apply.ErrInterrupted
		}
		return err
	}
	return x.end(list, what, cut, time.Since(began))
}

// token writes what a token adds to a text that is shown as it comes, and reports whether the text goes on.
func (x *generation) token(n int, id int32) bool {
	piece, more := x.streams[n].Add(id)
	if x.live {
		fmt.Fprint(x.a.stdout, x.written.add(piece, false))
	}
	return more
}

// end writes what was not written yet, and says why texts ended that should have gone on.
func (x *generation) end(list []forward.Generated, what string, cut bool, took time.Duration) error {
	tokens, full := 0, false
	for n, g := range list {
		last := x.streams[n].End()
		tokens, full = tokens+len(g.IDs), full || g.End == forward.Full
		switch {
		case x.a.json:
			x.a.line(map[string]any{"type": "text", "prompt": x.prompt, "text": x.streams[n].Text(), "tokens": len(g.IDs),
				"finish_reason": g.End})
		case x.live:
			fmt.Fprintln(x.a.stdout, x.written.add(last, true))
		default:
			fmt.Fprintf(x.a.stdout, "%s\n%s%s\n", x.a.paint(dim, fmt.Sprintf("%d of %d", n+1, len(list))),
				x.a.paint(bold, foreign.ShownText(x.prompt)), new(written).add(x.streams[n].Text(), true))
		}
		if g.End == forward.Flawed {
			return errors.New(g.Diagnosis)
		}
	}
	if cut && full {
		x.a.warn(fmt.Errorf("the text ends because the model's %s is full", x.model.Longest()))
	}
	if _, terminal := x.a.stderr.(*output); terminal && isTerminal(x.a.stderr) && !x.a.json {
		fmt.Fprintf(x.a.stderr, "%s\n", x.a.paint(dim, fmt.Sprintf("%s; %s, %.0f a second", foreign.Shown(what),
			words.Plural(tokens, "token"), float64(tokens)/took.Seconds())))
	}
	return nil
}
