package main

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb"
	"stepflow/fineweb/tokenizer"
	"stepflow/foreign"
	"stepflow/runtime/apply"
	"stepflow/runtime/blocks/data"
	"stepflow/runtime/blocks/stage"
	tokens "stepflow/runtime/blocks/tokenizer"
	"stepflow/runtime/words"
)

// dataFlags are those of stepflow data.
type dataFlags struct {
	format, text, id, tokenizer string
	n, step                     int // step is 0 where none is asked for
}

func dataCommand() command {
	var o dataFlags
	verbs := map[string]func(*app, *dataFlags, string) error{"stat": (*app).dataStat, "head": (*app).dataHead,
		"tokenize": (*app).dataTokenize}
	return command{name: "data", args: "stat|head|tokenize [flags] SOURCE", most: 2,
		short: "Looks into data, and tokenizes them ahead.",
		synopsis: "Looks at data: stat counts rows, columns, text and tokens; head prints the first documents, or " +
			"with -step the batch that a step of a stage trains on, document by document; tokenize fills the cache " +
			"of tokens. SOURCE is a path, glob or address of files, or data.TYPE.NAME of the pipeline in -dir; with " +
			"-step it is stage.NAME.",
		example: "stepflow data stat 'hf://datasets/HuggingFaceFW/fineweb-edu/sample/10BT/000_00000.parquet'\n" +
			"stepflow data head -n 2 pipelines/quickstart/data/go-docs.parquet\n" +
			"stepflow data head -dir pipelines/quickstart -step 12 stage.seed\n" +
			"stepflow data tokenize -dir pipelines/quickstart data.fineweb_edu.docs",
		flags: func(a *app, f *flag.FlagSet) {
			common(a, f)
			f.StringVar(&a.dir, "dir", ".", "folder of the pipeline, for data.TYPE.NAME")
			f.StringVar(&o.format, "format", "",
				"fineweb_edu, parquet, jsonl, text or bin (default: by the file's name)")
			f.StringVar(&o.text, "text-column", "text", "column or field that holds the document")
			f.StringVar(&o.id, "id-column", "id", "column or field with the document's id")
			f.StringVar(&o.tokenizer, "tokenizer", "",
				"a tokenizer.json to count tokens with (default: those of the pipeline's stages)")
			f.IntVar(&o.n, "n", 5, "head: documents to print")
			f.Func("step", "head: print the batch of this step, counted from 1, of the stage that SOURCE names",
				func(s string) (err error) {
					if o.step, err = strconv.Atoi(s); err != nil || o.step < 1 {
						return errors.New("it takes the number of a step, and the first is 1")
					}
					return nil
				})
		},
		run: func(a *app, args []string) int {
			switch {
			case len(args) == 0 || verbs[args[0]] == nil:
				return a.misuse("stepflow data: write stepflow data stat, head or tokenize, and a SOURCE. See " +
					"stepflow data -help.")
			case o.n < 1:
				return a.misuse("stepflow data: -n is %d, and at least one document is printed. See stepflow data "+
					"-help.", o.n)
			case o.step != 0 && args[0] != "head":
				return a.misuse("stepflow data: -step goes with head, not with %s. See stepflow data -help.", args[0])
			case len(args) == 1 && o.step != 0:
				return a.misuse("stepflow data: name the stage whose step %d is to be shown, such as stage.NAME. See "+
					"stepflow data -help.", o.step)
			case len(args) == 1:
				return a.misuse("stepflow data: %s needs a SOURCE: files, or data.TYPE.NAME of the pipeline in -dir. "+
					"See stepflow data -help.", args[0])
			}
			if err := verbs[args[0]](a, &o, args[1]); err != nil {
				return a.fail(err)
			}
			return exitOK
		}}
}

// looked is data to look at, with the tokenizers that are known to go with them.
type looked struct {
	name       string
	source     fineweb.Source
	tokenizers map[string]*tokenizer.Tokenizer
}

// lookAt finds the data that an argument names.
func (a *app) lookAt(o *dataFlags, arg string) (list []looked, err error) {
	toks := map[string]*tokenizer.Tokenizer{}
	if o.tokenizer != "" {
		if toks[o.tokenizer], err = tokens.Read(o.tokenizer); err != nil {
			return nil, err
		}
	}
	at, err := addr.Parse(arg)
	if of, part, _ := addr.ParsePart(arg); part != "" && of.Kind == "data" {
		return nil, fmt.Errorf("%s is a part of a block; name the whole one, %s", arg, of)
	}
	if err != nil || at.Kind != "data" {
		format := o.format
		if format == "" {
			if format = fineweb.FormatOf(arg); format == "" {
				return nil, fmt.Errorf("%s: the name does not tell what the files are: set -format to fineweb_edu, "+
					"parquet, jsonl, text or bin",
					fineweb.Shown(arg))
			}
		}
		s := fineweb.Source{Format: format, Patterns: []string{arg}, TextColumn: o.text, IDColumn: o.id, Cache: a.cache}
		if dir := foreign.CacheDir(); dir != "" {
			s.TokenDir = filepath.Join(dir, "tokens")
		}
		return []looked{{strings.Join(s.Shown(), ", "), s, toks}}, nil
	}
	p, ok := a.plan([]string{a.dir}, true, at)
	if !ok {
		if a.ctx.Err() != nil {
			return nil, apply.ErrInterrupted
		}
		return nil, fmt.Errorf("the pipeline in %s cannot be planned", a.dir)
	}
	var docs *data.Data
	var have []string
	for _, x := range p.Actions {
		if d, ok := x.Block.(*data.Data); ok {
			if have = append(have, x.Addr.String()); x.Addr == at {
				docs = d
			}
		}
	}
	if docs == nil {
		return nil, fmt.Errorf("the pipeline in %s has no %s; its data are: %s", a.dir, at, strings.Join(have, ", "))
	}
	if docs.Unseen != "" {
		return nil, fmt.Errorf("%s: %s", at, docs.Unseen)
	}
	for _, x := range p.Actions {
		s, ok := x.Block.(*stage.Stage)
		if ok && o.tokenizer == "" && (s.Data == docs || slices.Contains(s.Data.Parts, docs)) {
			if tok := s.Tokenizer.Ready(); tok != nil {
				toks[s.Tokenizer.Addr.String()] = tok
			}
		}
	}
	for _, s := range docs.Sources() {
		list = append(list, looked{s.Name, s.Source, toks})
	}
	return list, nil
}

func (a *app) dataStat(o *dataFlags, arg string) error {
	list, err := a.lookAt(o, arg)
	if err != nil {
		return err
	}
	for _, x := range list {
		if err := a.stat(x); err != nil {
			return err
		}
	}
	return nil
}

// stat shows what data hold.
func (a *app) stat(x looked) error {
	c, err := fineweb.Open(a.ctx, x.source)
	if err != nil {
		return err
	}
	defer c.Close()
	files := c.Describe()
	var size, groups, least, most int64
	for _, f := range files {
		size += f.Bytes
		for _, n := range f.Groups {
			if groups == 0 || n < least {
				least = n
			}
			most = max(most, n)
			groups++
		}
	}
	out := map[string]any{"source": x.name, "files": len(files), "bytes": size, "rows": c.Rows,
		"row_groups": groups, "least_rows": least, "most_rows": most, "columns": files[0].Fields}
	var lines []string
	if x.source.Deduplicate {
		n, err := c.Copies()
		if err != nil {
			return err
		}
		out["copies"] = n
		lines = append(lines, fmt.Sprintf("  copies      %d documents have the text of another and are left out", n))
	}
	if len(x.source.Against) > 0 {
		unclean, more, err := contaminated(x, c)
		if err != nil {
			return err
		}
		out["contaminated"] = unclean
		lines = append(lines, more...)
	}
	if len(c.Warnings) > 0 {
		out["warnings"] = c.Warnings
	}
	for _, w := range c.Warnings {
		lines = append(lines, "  warning     "+foreign.ShownText(w))
	}
	tokens, more, err := a.statTokens(x, c)
	if err != nil {
		return err
	}
	if a.json {
		out["tokens"] = tokens
		a.line(out)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s\n  files       %d, %s\n", x.name, len(files), dsl.FormatBytes(size))
	if groups > 0 {
		rowGroups := words.Plural(int(groups), "row group")
		fmt.Fprintf(a.stdout, "  rows        %d in %s of %d to %d\n", c.Rows, rowGroups, least, most)
	}
	if len(files[0].Fields) > 0 {
		fmt.Fprintf(a.stdout, "  columns     %s\n", foreign.Shown(strings.Join(files[0].Fields, ", ")))
	}
	for _, l := range append(lines, more...) {
		fmt.Fprintln(a.stdout, l)
	}
	return nil
}

// contaminated counts the documents that decontaminate leaves out, in all and for what it names, and says where the first
// of them lie: as JSON and as lines.
func contaminated(x looked, c *fineweb.Corpus) (out map[string]any, lines []string, err error) {
	const most = 3
	n, of, err := c.Contaminated()
	if err != nil {
		return nil, nil, err
	}
	out = map[string]any{"documents": n}
	by := map[string]any{}
	for i, a := range x.source.Against {
		places := c.ContaminatedPlaces(i, most)
		by[a.Name] = map[string]any{"documents": of[i], "first": places}
		line := fmt.Sprintf("  left out    no document for a %d-gram of %s", a.N, a.Name)
		if of[i] > 0 {
			line = fmt.Sprintf("  left out    %s for a %d-gram of %s: %s", words.Plural(int(of[i]), "document"), a.N, a.Name,
				foreign.ShownText(strings.Join(places, "; ")))
		}
		if of[i] > most {
			line += "; …"
		}
		lines = append(lines, line)
	}
	out["shared_with"] = by
	return out, lines, nil
}

// statTokens counts the tokens of data with each tokenizer, or without one: as JSON, by tokenizer, and as lines.
func (a *app) statTokens(x looked, c *fineweb.Corpus) (tokens map[string]any, lines []string, err error) {
	tokens = map[string]any{}
	names := slices.Sorted(maps.Keys(x.tokenizers))
	if len(names) == 0 {
		names = []string{""}
	}
	for _, n := range names {
		tok := x.tokenizers[n]
		m, err := fineweb.Measure(a.ctx, x.source, tok, fineweb.Train)
		if errors.As(err, &fineweb.NoDocuments{}) {
			return tokens, append(lines, "  tokens      none to train on: "+foreign.ShownText(err.Error())), nil
		}
		if err != nil {
			return nil, nil, err
		}
		if m.Tokens == 0 {
			continue
		}
		entry := map[string]any{"tokens": m.Tokens, "known": string(m.How), "special_tokens": m.Specials}
		tokens[n] = entry
		line := fmt.Sprintf("  tokens      %s to train on, %s", words.Count(m.Tokens), m.How)
		if n != "" {
			line += " with " + n
		}
		lines = append(lines, line)
		if m.Specials > 0 {
			lines = append(lines, "  special     "+data.SpecialsNote(m.Specials, x.source.SpecialIDs))
		}
		if done, of, bytes := c.Cached(tok); done > 0 {
			lines = append(lines, fmt.Sprintf("  cache       %d of %d pieces are tokenized with %s, %s",
				done, of, n, dsl.FormatBytes(bytes)))
			entry["cached_pieces"], entry["cached_bytes"] = done, bytes
		}
	}
	return tokens, lines, nil
}

func (a *app) dataHead(o *dataFlags, arg string) error {
	if o.step != 0 {
		return a.dataStep(o, arg)
	}
	list, err := a.lookAt(o, arg)
	if err != nil {
		return err
	}
	for _, x := range list {
		c, err := fineweb.Open(a.ctx, x.source)
		if err != nil {
			return err
		}
		defer c.Close()
		var tok *tokenizer.Tokenizer
		for _, name := range slices.Sorted(maps.Keys(x.tokenizers)) {
			tok = x.tokenizers[name]
			break
		}
		n := 0
		err = c.Head(tok, func(d fineweb.Sample) bool {
			switch {
			case a.json && d.Tokens != nil:
				a.line(map[string]any{"id": d.ID, "tokens": d.Tokens})
			case a.json:
				a.line(map[string]any{"id": d.ID, "text": d.Text})
			case d.Tokens != nil:
				fmt.Fprintf(a.stdout, "%s %s\n%v\n\n", a.paint(bold, foreign.Shown(d.ID)),
					words.Plural(len(d.Tokens), "token"),
					d.Tokens[:min(len(d.Tokens), 64)])
			default:
				fmt.Fprintf(a.stdout, "%s %s\n%s\n\n", a.paint(bold, foreign.Shown(d.ID)),
					dsl.FormatBytes(int64(len(d.Text))), clip(d.Text, 600))
			}
			n++
			return n < o.n
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// clip cuts a text for the screen, where a rune begins.
func clip(s string, n int) string {
	if len(s) <= n {
		return foreign.ShownText(s)
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return foreign.ShownText(s[:n]) + " …"
}

func (a *app) dataTokenize(o *dataFlags, arg string) error {
	list, err := a.lookAt(o, arg)
	if err != nil {
		return err
	}
	for _, x := range list {
		if len(x.tokenizers) == 0 {
			return fmt.Errorf("%s: there is no tokenizer: name a file with -tokenizer, or apply the pipeline until "+
				"its tokenizer is trained", x.name)
		}
		if x.source.TokenDir == "" {
			return fmt.Errorf("%s keeps no tokens: set cache = \"tokens\"", x.name)
		}
		for _, n := range slices.Sorted(maps.Keys(x.tokenizers)) {
			var tokens int64
			err := fineweb.Tokenize(a.ctx, x.source, x.tokenizers[n], func(done, of int, all int64) error {
				tokens = all
				if isTerminal(a.stderr) {
					fmt.Fprintf(a.stderr, "\r%s: %d of %d pieces, %s tokens\x1b[K",
						x.name, done, of, words.Count(all))
				}
				return a.ctx.Err()
			})
			if isTerminal(a.stderr) {
				fmt.Fprint(a.stderr, "\r\x1b[K")
			}
			if err != nil {
				return fmt.Errorf("%w. What is tokenized is kept: the same command goes on", err)
			}
			if a.json {
				a.line(map[string]any{"source": x.name, "tokenizer": n, "tokens": tokens})
			} else {
				fmt.Fprintf(a.stdout, "%s: %s tokens with %s\n", x.name, words.Count(tokens), n)
			}
		}
	}
	return nil
}
