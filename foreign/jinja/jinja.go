// Package jinja compiles and renders Jinja templates that others wrote, such as chat templates and those of evaluation
// tasks, with the results of Jinja 3.1 in Python.
//
// A template is a program from elsewhere: what it may spend in steps, memory, output and nesting is bounded, it can
// reach nothing but the values that it is given, and these it cannot change. What it does that this package does not
// know is an error that names it, never a guess.
package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"stepflow/foreign"
)

// Options are the environment of a template.
type Options struct {
	Name string // of the template, for messages: a path, or "the chat template of tokenizer_config.json"

	TrimBlocks          bool // the newline after a block is dropped
	LstripBlocks        bool // the blanks before a block that begins a line are dropped
	KeepTrailingNewline bool // the newline at the end of the template is kept
	Strict              bool // using a variable that is not defined is an error (StrictUndefined)
	LoopControls        bool // break and continue
	Generation          bool // {% generation %} marks what an assistant said
	HTMLSafeJSON        bool // tojson is that of Jinja, which escapes HTML and sorts keys, and not that of transformers

	// Now is what strftime_now says. Without it the template has no strftime_now: templates that ask whether it is
	// defined then write a date of their own, and what they render does not change from day to day.
	Now time.Time

	Filters map[string]Filter // besides the built-in ones
	Globals map[string]Value  // besides the built-in ones; templates that render with a variable of the name see that

	Limits Limits // zero: DefaultLimits
}

// Chat is the environment that transformers renders chat templates in.
func Chat(name string) Options {
	return Options{Name: name, TrimBlocks: true, LstripBlocks: true, LoopControls: true, Generation: true}
}

// Tasks is the environment that lm-evaluation-harness renders the templates of tasks in.
func Tasks(name string) Options {
	return Options{Name: name, KeepTrailingNewline: true, Strict: true, HTMLSafeJSON: true,
		Filters: map[string]Filter{"regex_replace": RegexReplace}}
}

// Limits bound what one rendering may spend.
type Limits struct {
	Steps int64 // expressions and statements evaluated, items visited
	Bytes int64 // of all texts and lists that it makes on the way
	Text  int64 // of a single one, such as the output
	Depth int   // of calls in calls

	Matching time.Duration // of all regular expressions, which may backtrack
}

// DefaultLimits are far above what a conversation needs: a template that meets one runs away.
var DefaultLimits = Limits{Steps: 2_000_000, Bytes: 512 << 20, Text: 64 << 20, Depth: 120, Matching: 2 * time.Second}

// maxSource is the longest template; published ones have at most 40 kB.
const maxSource = 1 << 20

// Error is what a template did wrong, or raised by itself.
type Error struct {
	Template string // its name
	Line     int    // from 1; 0 if not known
	Message  string
	Raised   bool // by raise_exception: the values are not what the template takes
	RunsAway bool // it met a limit
}

// Fatal reports whether other values are no use to the template either, as far as can be told.
func (e *Error) Fatal() bool { return e.RunsAway }

func (e *Error) Error() string {
	where := e.Template
	if where == "" {
		where = "the template"
	}
	if e.Line > 0 {
		where = fmt.Sprintf("%s, line %d", where, e.Line)
	}
	return where + ": " + e.Message
}

// Template is compiled. It serves any number of goroutines.
type Template struct {
	options Options
	body    []stmt
	marks   bool
}

// Compile parses a template.
func Compile(source string, o Options) (t *Template, err error) {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits
	}
	if len(source) > maxSource {
		return nil, &Error{Template: o.Name, Message: fmt.Sprintf("it has %d bytes, and a template may have %d", len(source), maxSource)}
	}
	p := &parser{options: &o}
	defer func() { err = failed(recover(), o.Name, p.line(), err) }()
	p.tokens = lex(source, &o)
	t = &Template{options: o, body: p.statements(nil)}
	t.marks = p.generations > 0
	return t, nil
}

// Marks reports whether the template has {% generation %} blocks.
func (t *Template) Marks() bool { return t.marks }

// Span is a part of what was rendered, in bytes.
type Span struct{ Start, End int }

// Render renders the template with variables.
func (t *Template) Render(vars map[string]Value) (string, error) {
	text, _, err := t.RenderSpans(vars)
	return text, err
}

// RenderSpans also says which parts were rendered by {% generation %} blocks.
func (t *Template) RenderSpans(vars map[string]Value) (text string, spans []Span, err error) {
	l := t.options.Limits
	r := &run{options: &t.options, steps: l.Steps, bytes: l.Bytes, matching: l.Matching}
	defer func() {
		if err = failed(recover(), t.options.Name, r.line, err); err != nil {
			text, spans = "", nil
		}
	}()
	global := &scope{vars: map[string]Value{}}
	for name, f := range globals {
		global.vars[name] = f
	}
	if !r.options.Now.IsZero() {
		global.vars["strftime_now"] = strftimeNow
	}
	for name, v := range t.options.Globals {
		global.vars[name] = From(v)
	}
	context := &scope{vars: map[string]Value{}, parent: global}
	for name, v := range vars {
		context.vars[name] = From(v)
	}
	out := &output{top: true}
	if r.execute(t.body, &scope{vars: map[string]Value{}, parent: context}, out) != proceed {
		r.fail("break or continue stands outside of a loop")
	}
	return out.String(), out.spans, nil
}

// failure is what the package throws and catches inside.
type failure struct{ err *Error }

// maxMessage is as much of a message as helps, in bytes: a template may put all it was given into one.
const maxMessage = 1000

// failed turns what was thrown into an error. Nothing that a template does may end the program, so a mistake of ours
// is an error of the template, too.
func failed(thrown any, name string, line int, err error) error {
	switch f := thrown.(type) {
	case nil:
		return err
	case failure:
		f.err.Template, f.err.Message = name, foreign.ShownStart(f.err.Message, maxMessage)
		if f.err.Line == 0 {
			f.err.Line = line
		}
		return f.err
	default:
		return &Error{Template: name, Line: line, Message: fmt.Sprintf("the template does something that stepflow cannot do: %v", thrown)}
	}
}

// IsRaised reports whether the template itself refused its values.
func IsRaised(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Raised
}

// run is one rendering.
type run struct {
	options      *Options
	steps, bytes int64 // left
	depth        int
	matching     time.Duration // left for regular expressions
	line         int           // of what is being done
}

func (r *run) fail(format string, args ...any) {
	panic(failure{&Error{Line: r.line, Message: fmt.Sprintf(format, args...)}})
}

func (r *run) runsAway(format string, args ...any) {
	panic(failure{&Error{Line: r.line, Message: fmt.Sprintf(format, args...), RunsAway: true}})
}

// work counts steps.
func (r *run) work(n int) {
	if r.steps -= int64(n); r.steps < 0 {
		r.runsAway("it takes more than %d steps: it runs away, or what it is given is far too long", r.options.Limits.Steps)
	}
}

// scan counts the steps of going over so many bytes once.
func (r *run) scan(bytes int) { r.work(bytes / 64) }

// scanCharacters counts the steps of going over so many bytes one character at a time, which takes longer.
func (r *run) scanCharacters(bytes int) { r.work(bytes / 16) }

// room counts bytes that are about to be allocated.
func (r *run) room(n int) {
	l := r.options.Limits
	if int64(n) > l.Text || n < 0 {
		r.runsAway("it makes a text or a list of more than %d MiB", l.Text>>20)
	}
	if r.bytes -= int64(n); r.bytes < 0 {
		r.runsAway("it makes texts and lists of more than %d MiB on the way", l.Bytes>>20)
	}
	r.scan(n)
}

// reading counts the steps of going over those values that are texts once, as methods, filters and tests do with what they
// are given.
func (r *run) reading(values ...Value) {
	for _, v := range values {
		if s, ok := v.(string); ok {
			r.scan(len(s))
		}
	}
}

// items counts the room of list items.
func (r *run) items(n int) {
	if n > 1<<31 {
		n = 1 << 31
	}
	r.room(16 * n)
}

func (r *run) deeper() func() {
	if r.depth++; r.depth > r.options.Limits.Depth {
		r.runsAway("it is nested or calls itself more than %d deep", r.options.Limits.Depth)
	}
	return func() { r.depth-- }
}

// output collects what is rendered.
type output struct {
	strings.Builder
	top   bool // it is the template's, not that of a macro or a block
	spans []Span
}

func (r *run) write(out *output, s string) {
	if int64(out.Len()+len(s)) > r.options.Limits.Text {
		r.runsAway("it renders more than %d MiB", r.options.Limits.Text>>20)
	}
	r.room(len(s))
	out.WriteString(s)
}
