package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/term"

	"stepflow/chat"
	"stepflow/foreign"
	"stepflow/foreign/jinja"
	"stepflow/runtime/apply"
	"stepflow/runtime/forward"
	"stepflow/runtime/inference"
	"stepflow/runtime/words"
)

// usualContext is how many tokens of a conversation a model sees at most, unless the user says otherwise.
const usualContext = 4096

func chatCommand() command {
	var s sampling
	var o chatFlags
	return command{name: "chat", args: "[flags] STAGE | DIR", most: 1,
		short: "Talks with a trained model.",
		synopsis: "Talks with the model that a stage made, or that lies in a folder: an export, or one of Hugging Face's. A " +
			"line is a turn, which the model's chat template formats. Of a stage that is still training it takes " +
			"the latest checkpoint. /clear begins a new conversation, /exit or Ctrl-D ends. Ctrl-C ends the answer, and the " +
			"command if none is being given. Flags that are not given are taken from the model's generation_config.json.",
		example: "stepflow chat -dir pipelines/quickstart -chat-template chatml stage.final\n" +
			"stepflow chat -system 'Answer in one sentence.' -temperature 0.7 models/SmolLM2-135M-Instruct",
		flags: func(a *app, f *flag.FlagSet) {
			s.add(a, f)
			f.StringVar(&o.system, "system", "", "system message, before the first turn")
			f.StringVar(&o.template, "chat-template", "", "a file with a chat template, or the name of a built-in one: chatml "+
				"(default: the model's own)")
			f.IntVar(&o.context, "context", usualContext, "tokens of the conversation that the model sees, at most; the memory for "+
				"their keys and values is taken at once")
		},
		run: func(a *app, args []string) int {
			if len(args) != 1 {
				return a.misuse("stepflow chat: name a stage or a folder: stepflow chat stage.NAME")
			}
			if o.context < 2 {
				return a.misuse("stepflow chat: -context is at least 2")
			}
			t, err := a.newTalk(args[0], &s, &o)
			if err != nil {
				return a.fail(err)
			}
			defer t.close()
			if err := t.run(); err != nil {
				return a.fail(err)
			}
			return exitOK
		}}
}

// chatFlags are the flags of chat alone.
type chatFlags struct {
	system, template string
	context          int
}

// talk is a conversation with a model.
type talk struct {
	a         *app
	model     *inference.Model
	generator *forward.Generator
	template  *chat.Template
	config    inference.Config
	stop      []string
	tokens    int // that it may have
	system    string
	messages  []*jinja.Dict
}

// newTalk loads the model that an argument names.
func (a *app) newTalk(arg string, s *sampling, o *chatFlags) (t *talk, err error) {
	m, what, err := a.openTarget(arg, s.precision)
	if err != nil {
		return nil, err
	}
	t = &talk{a: a, model: m, stop: s.stop, system: o.system, tokens: min(o.context, m.MaxPositionEmbeddings)}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.config, err = s.of(m); err != nil {
		return t, err
	}
	if err = t.findTemplate(o.template, what); err != nil {
		return t, err
	}
	d, err := a.openDevice()
	if err != nil {
		return t, err
	}
	if t.generator, err = m.Generator(a.ctx, d, 1, t.tokens); err != nil {
		return t, err
	}
	if t.generator.Flaw.Found() {
		a.warn(errors.New(t.generator.Flaw.String()))
	}
	t.clear()
	return t, nil
}

func (t *talk) close() {
	if t.generator != nil {
		t.generator.Close()
	}
	if t.a.opened != nil {
		t.a.opened.Close()
	}
	t.model.Close()
}

// findTemplate compiles the chat template. The token with which it ends an answer then ends texts, too.
func (t *talk) findTemplate(given, what string) error {
	source, named := chat.Named(given)
	var err error
	switch {
	case named:
	case given != "":
		if source, err = chat.File(given); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("-chat-template %s is neither a file nor a built-in template: those are %s", foreign.Shown(given),
				strings.Join(slices.Sorted(maps.Keys(chat.BuiltIn)), ", "))
		}
	default:
		source, err = chat.Beside(t.model.Folder)
		if err == nil && !source.Any() {
			err = fmt.Errorf("%s has no chat template, neither in %s nor in %s: the model was not tuned to answer, or name a "+
				"template by -chat-template, such as chatml. stepflow generate continues texts", what, chat.TemplateFile,
				chat.TokenizerConfig)
		}
	}
	if err != nil {
		return err
	}
	if t.template, err = source.Compile(t.model.Tokenizer, time.Now()); err != nil {
		return err
	}
	if id, ok := t.template.EndOfTurn(t.model.Tokenizer); ok {
		t.config.Stop = append(t.config.Stop, id)
	}
	return nil
}

func message(role, content string) *jinja.Dict {
	return jinja.NewDict("role", role, "content", content)
}

// clear begins a new conversation.
func (t *talk) clear() {
	if t.messages = nil; t.system != "" {
		t.messages = []*jinja.Dict{message("system", t.system)}
	}
}

// run takes turns until the lines end.
func (t *talk) run() error {
	a := t.a
	in, ok := a.stdin.(*os.File)
	terminal := ok && isTerminal(in) && a.moves()
	next := lines(a.stdin, "a turn")
	if terminal {
		next = t.typed(in)
	}
	for {
		line, err := next(false)
		switch {
		case err == errDropped:
			continue
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
		switch line = strings.TrimSpace(line); line {
		case "":
			continue
		case "/exit":
			return nil
		case "/clear":
			t.clear()
			continue
		}
		err = t.turn(line)
		switch {
		case a.ctx.Err() != nil:
			return apply.ErrInterrupted
		case err != nil && terminal:
			a.fail(err)
		case err != nil:
			return err
		}
	}
}

// typed returns a function that reads a line at a terminal, which is raw only meanwhile.
func (t *talk) typed(in *os.File) func(bool) (string, error) {
	c := t.a.newConversation(in, func(start string) (list []string) {
		for _, word := range []string{"/clear", "/exit"} {
			if start != "" && strings.HasPrefix(word, start) {
				list = append(list, word)
			}
		}
		return list
	})
	var before *term.State
	return func(bool) (string, error) {
		now, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return "", err
		}
		if before == nil {
			before = now
			t.a.interrupt.atExit(func() { term.Restore(int(in.Fd()), before) })
		}
		defer term.Restore(int(in.Fd()), now)
		return c.line(false)
	}
}

// turn says something to the model, and writes its answer as it comes.
func (t *talk) turn(said string) error {
	a, before := t.a, t.messages
	t.messages = append(t.messages[:len(t.messages):len(t.messages)], message("user", said))
	p, err := t.prompt()
	if err != nil {
		t.messages = before
		return err
	}
	s := forward.NewStream(t.model.Tokenizer, nil, t.stop)
	var shown written
	var stopped atomic.Bool
	a.interrupt.take(func() bool { return !stopped.Swap(true) })
	defer a.interrupt.take(nil)
	list, err := t.generator.Generate(a.ctx, []forward.Prompt{p}, func(_ int, id int32) bool {
		piece, more := s.Add(id)
		if !a.json {
			fmt.Fprint(a.stdout, shown.add(piece, false))
		}
		return more && !stopped.Load()
	})
	if err != nil {
		return err
	}
	rest := s.End()
	t.messages = append(t.messages, message("assistant", s.Text()))
	if g := list[0]; a.json {
		a.line(map[string]any{"type": "message", "role": "assistant", "content": s.Text(), "tokens": len(g.IDs),
			"finish_reason": g.End})
	} else {
		fmt.Fprintln(a.stdout, shown.add(rest, true))
	}
	switch g := list[0]; {
	case g.End == forward.Flawed:
		return errors.New(g.Diagnosis)
	case g.End == forward.Full && p.NewTokens < t.config.NewTokens:
		a.warn(fmt.Errorf("the answer ends because the context of %s is full: /clear begins a new conversation",
			words.Plural(t.tokens, "token")))
	}
	return nil
}

// prompt is the conversation as the model reads it.
func (t *talk) prompt() (p forward.Prompt, err error) {
	r, err := t.template.Render(&chat.Conversation{Messages: t.messages, Completion: -1}, true)
	if err != nil {
		return p, err
	}
	ids, err := r.Encode(t.model.Tokenizer)
	switch {
	case err != nil:
		return p, err
	case len(ids) == 0:
		return p, errors.New("the chat template renders the conversation as an empty text")
	case len(ids) >= t.tokens:
		return p, fmt.Errorf("the conversation has %s, and the context holds %d: say less, or begin a new one with /clear%s",
			words.Plural(len(ids), "token"), t.tokens, t.more())
	}
	return forward.Prompt{IDs: ids, NewTokens: min(t.config.NewTokens, t.tokens-len(ids)), Stop: t.config.Stop,
		Sampling: t.config.Sampling, Draw: len(t.messages)}, nil
}

// more says that the model takes more tokens than the context has.
func (t *talk) more() string {
	if t.tokens < t.model.MaxPositionEmbeddings {
		return fmt.Sprintf("; the model takes %d (-context)", t.model.MaxPositionEmbeddings)
	}
	return ""
}
