package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/runtime/blocks"
	"stepflow/runtime/blocks/stage"
	"stepflow/runtime/modelcard"
	"stepflow/runtime/state"
	"stepflow/runtime/words"
)

// card is the model card of an export.
type card struct {
	*Export
	title, description, license, baseModel string
	language, tags                         []string
	results                                []measured
}

// measured is an evaluation that a card shows.
type measured struct {
	addr.Addr
	dataset string       // what it was measured on, in words; "" for none
	name    string       // of the data; "" for none
	of      *stage.Stage // what it measures
}

// planCard reads what the card says. It leaves e.card nil where none is written.
func (e *Export) planCard(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	c := &card{Export: e, title: e.Stage.Addr.Name}
	if b := d.Block("model_card"); b != nil {
		if b.Known("write") && !b.Bool("write") {
			return nil
		}
		c.title, c.description = cmp.Or(modelcard.Line(b.Str("title")), c.title), modelcard.Line(b.Str("description"))
		c.license, c.baseModel = b.Str("license"), b.Str("base_model")
		c.language, c.tags = b.Strs("language"), b.Strs("tags")
		for _, r := range b.List("result") {
			ref, _, _ := r.Ref("evaluation")
			of, docs, _ := p.Use(ref).(stage.Measure).Measures()
			if !e.continues(of) {
				return hcl.Diagnostics{r.Error("evaluation", "Evaluation of another model",
					fmt.Sprintf("%s measures a model that %s was not made of: the card would show results of another one.", ref,
						e.Stage.Addr))}
			}
			m := measured{Addr: ref, dataset: modelcard.Line(r.Str("dataset")), of: of}
			if docs != nil {
				m.name = docs.Addr.String()
			}
			c.results = append(c.results, m)
		}
	}
	e.card = c
	return nil
}

// continues reports whether a stage is the exported one, or one that it continues.
func (e *Export) continues(s *stage.Stage) bool { return slices.Contains(e.chain(), s) }

// chain lists the stages that made the model, the first one first.
func (e *Export) chain() (list []*stage.Stage) {
	for s := e.Stage; s != nil; s = s.Before {
		list = append(list, s)
	}
	slices.Reverse(list)
	return list
}

// title is the model's name.
func (e *Export) title() string {
	if e.card == nil {
		return e.Stage.Addr.Name
	}
	return e.card.title
}

// write returns the card after the run of what it shows. It tells nothing that another run of the same would not.
func (c *card) write(r *blocks.Run) ([]byte, error) {
	var st map[string]*state.Block
	r.Note(func(s *state.State) { st = maps.Clone(s.Blocks) })
	card := modelcard.Card{Title: c.title, Metadata: c.metadata(r, st), Intro: c.intro(),
		Sections: []modelcard.Section{c.dataSection(r), c.stageSection(st), c.settingsSection(r), c.resultSection(st), c.madeBy(r), c.form.use()}}
	card.Sections = slices.DeleteFunc(card.Sections, func(s modelcard.Section) bool {
		return s.Title == evaluationTitle && len(c.results) == 0 || s.Title == settingsTitle && len(s.Table.Rows) == 0
	})
	b, err := card.Bytes()
	return []byte(r.World.Secrets.Redact(string(b))), err
}

// metadata is what the hub reads.
func (c *card) metadata(r *blocks.Run, st map[string]*state.Block) modelcard.Metadata {
	m := modelcard.Metadata{Language: c.language, License: c.license, PipelineTag: "text-generation",
		BaseModel: cmp.Or(c.baseModel, c.form.hubBase(r)), Tags: append([]string{"stepflow"}, c.tags...)}
	library, tag := c.form.library()
	m.LibraryName = library
	if tag != "" {
		m.Tags = append([]string{tag}, m.Tags...)
	}
	for _, n := range c.trained() {
		for _, pattern := range n.Source.Patterns {
			if id := hubName(pattern, "hf://datasets/"); id != "" && !slices.Contains(m.Datasets, id) && !hides(r.World, n.Addr, "source") {
				m.Datasets = append(m.Datasets, id)
			}
		}
	}
	var results []modelcard.Result
	for _, x := range c.results {
		if x.of != c.Stage {
			continue
		}
		begun := map[string]bool{}
		for _, f := range figures(st[x.Addr.String()]) {
			if f.clean || slices.Contains(blocks.OfContamination, f.name) { // which says nothing of the model
				continue
			}
			if on := cmp.Or(f.task, x.on()); !begun[f.task] {
				begun[f.task] = true
				results = append(results, modelcard.Result{Task: modelcard.Task{Type: "text-generation"},
					Dataset: modelcard.Dataset{Name: on, Type: on}})
			}
			last := &results[len(results)-1]
			last.Metrics = append(last.Metrics, modelcard.Metric{Type: f.name, Value: f.value, Name: f.name})
		}
	}
	if len(results) > 0 {
		m.ModelIndex = []modelcard.Model{{Name: c.title, Results: results}}
	}
	return m
}

// on is what an evaluation was measured on, in words.
func (m measured) on() string { return cmp.Or(m.dataset, m.name, m.Addr.String()) }

// hubName is the ORG/NAME of what lies on the hub; "" for what lies elsewhere.
func hubName(path, prefix string) string {
	rest, ok := strings.CutPrefix(path, prefix)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 {
		return ""
	}
	name, _, _ := strings.Cut(parts[1], "@")
	return parts[0] + "/" + name
}

// hubBase is the model of the hub that the first stage starts from; "" for none.
func (e *Export) hubBase(r *blocks.Run) string {
	return hubName(loadedFrom(r.World, e.chain()[0]), "hf://")
}

// loadedFrom returns where the weights come from that a stage begins with if it continues no other: what it was imported
// from, or what its model names. It is "" if they come from nowhere, or if that is sensitive.
func loadedFrom(w *blocks.World, s *stage.Stage) string {
	if x := s.Import(); x != nil {
		return x.ID
	}
	p := w.Find(s.Root.Addr)
	if p == nil || hides(w, p.Addr, "from") {
		return ""
	}
	from, _ := strconv.Unquote(p.Hashed["from"])
	return from
}

// hides reports whether an attribute of a block is sensitive.
func hides(w *blocks.World, a addr.Addr, attribute string) bool {
	p := w.Find(a)
	if p == nil {
		return true
	}
	_, secret := p.Secret[attribute]
	return secret
}

func (c *card) intro() []string {
	if c.description == "" {
		return []string{c.form.intro()}
	}
	return []string{modelcard.Escape(c.description), c.form.intro()}
}

// intro is the sentence about a whole model.
func (e *Export) intro() string {
	m, without := e.Stage.Model, ""
	if e.apart() {
		without = " These are the weights that adapters are added to, without the adapters: alone they are not the model that was " +
			"trained and measured."
	}
	return fmt.Sprintf("A %s model with %s and %s parameters.%s", modelcard.Escape(m.Arch.Title),
		words.Plural(m.NumHiddenLayers, "layer"), words.Count(int64(m.Params())), without)
}

// talks reports whether the model was tuned to answer, and has a template to be asked by.
func (e *Export) talks() bool {
	return e.Stage.Tune != nil && e.Stage.Tokenizer.Chat.Any() && e.Stage.Tokenizer.Chat.Templates[chat.Default] != ""
}

// madeBy says what makes the same again.
func (c *card) madeBy(r *blocks.Run) modelcard.Section {
	var seeds []string
	first := c.chain()[0]
	if first.Init == "" && first.Imported == nil {
		seeds = append(seeds, fmt.Sprintf("%d of the first weights", first.Seed))
	}
	for _, n := range c.trained() {
		if !hides(r.World, n.Addr, "seed") {
			seeds = append(seeds, fmt.Sprintf("%d of the order of %s", n.Source.Seed, modelcard.Code(n.Addr.String())))
		}
	}
	s := modelcard.Section{Title: "Reproduction",
		Text: []string{fmt.Sprintf("Made by stepflow %s, recipe %s.", modelcard.Escape(blocks.Version), modelcard.Code(r.Recipe))}}
	if len(seeds) > 0 {
		s.Text = append(s.Text, "Seeds: "+strings.Join(seeds, ", ")+".")
	}
	return s
}
