package export

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/hashicorp/hcl/v2"

	"stepflow/chat"
	"stepflow/dsl"
	"stepflow/dsl/addr"
	"stepflow/fineweb/hub"
	"stepflow/fineweb/tokenizer"
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
	"stepflow/runtime/forward"
	"stepflow/runtime/modelcard"
	"stepflow/runtime/words"
)

// adapterFolder is a folder that PEFT reads: adapters without the model that they are added to.
type adapterFolder struct {
	*Export
	base, revision string // the model, by the name that PEFT loads it by
	onHub          bool   // that name is of the hub
}

func (a *adapterFolder) plan(p *blocks.Planned, d *dsl.Decoded) hcl.Diagnostics {
	s := a.Stage
	if s.Imported != nil {
		return blocks.Problem(d, "model", "No adapters", fmt.Errorf("%s is imported, and adapters do not come with it", s.Addr))
	}
	if err := s.Apart(); err != nil {
		return blocks.Problem(d, "model", "No adapters of their own", fmt.Errorf("%s has none that PEFT could add to a model: %w. "+
			`Export "huggingface" writes the whole model`, s.Addr, err))
	}
	from := ""
	switch {
	case s.KeepApart: // what it loaded may have been trained further
	case s.Before == nil:
		from = loadedFrom(p.World, s)
	case s.Before.Imported != nil:
		from = loadedFrom(p.World, s.Before)
	}
	a.base = from
	if hub.Is(from) {
		r, _, err := hub.Parse(from)
		if err != nil {
			return blocks.Problem(d, "model", "Unknown base", err)
		}
		a.base, a.revision, a.onHub = r.Name, r.Revision, true
		if a.revision == "main" {
			a.revision = ""
		}
	}
	if a.base != "" && s.Model.LayerNormScaling {
		a.base = "" // the folder of a model with factors that PEFT does not know
	}
	if name := d.Str("base_model_name_or_path"); name != "" {
		a.base, a.revision, a.onHub = name, "", false
	}
	if a.base == "" {
		if s.KeepApart {
			return hcl.Diagnostics{d.Error("base_model_name_or_path", "No base", fmt.Sprintf("PEFT adds adapters to a model that it "+
				"loads by name. Theirs is what %s ends with beside them: write it with an export \"huggingface\" that has merge = "+
				"false, and give base_model_name_or_path, such as export.huggingface.NAME.path.", s.Addr))}
		}
		return hcl.Diagnostics{d.Error("base_model_name_or_path", "No base", fmt.Sprintf("PEFT adds adapters to a model that it "+
			"loads by name. Theirs is %s: export it, and give base_model_name_or_path, such as export.huggingface.NAME.path, or its "+
			"name on the hub.", a.trainedOn()))}
	}
	p.Hashed["base_model_name_or_path"] = strconv.Quote(a.base + "@" + a.revision)
	return nil
}

// trainedOn is the block whose model the adapters were trained on: that of the stage itself, where it keeps them apart.
func (a *adapterFolder) trainedOn() addr.Addr {
	if a.Stage.KeepApart {
		return a.Stage.Addr
	}
	if before := a.Stage.Before; before != nil {
		return before.Addr
	}
	return a.Stage.Root.Addr
}

// checkBase refuses a base that an export writes of another model.
func (a *adapterFolder) checkBase(all []*blocks.Planned) error {
	for _, p := range all {
		other, ok := p.Block.(*Export)
		if !ok || other.Stage == nil || other.given != a.base {
			continue
		}
		switch h, whole := other.form.(*huggingFace); {
		case !whole:
			return fmt.Errorf("%s is no folder of a model that PEFT loads: name an export \"huggingface\"", p.Addr)
		case other.Stage.Addr != a.trainedOn():
			return fmt.Errorf("%s writes %s there, and the adapters were trained on %s: with other weights they mean nothing", p.Addr,
				other.Stage.Addr, a.trainedOn())
		case h.apart != a.Stage.KeepApart:
			return fmt.Errorf("%s writes the model with the adapters merged, and PEFT would add them once more: set merge = false there", p.Addr)
		}
	}
	return nil
}

// tensors lists what the file of adapters holds: the adapters, and modules that were trained beside them.
func (a *adapterFolder) tensors() (adapters, beside []ops.Param) {
	_, list := a.adapted()
	return peft.Params(list), a.Stage.BesideAdapters()
}

// adapted returns the adapters, and their configuration, that add to the model what the stage's were trained to.
func (a *adapterFolder) adapted() (peft.Spec, []peft.Adapter) {
	return a.Stage.Exported()
}

// adapterType is the type in which an adapter is written: the type of its fp32 master if the optimizer keeps one, or else
// the stage's.
func (a *adapterFolder) adapterType(p ops.Param) gpu.DType {
	for _, x := range a.Stage.States(p) {
		if x.Copy {
			return x.Type.DType
		}
	}
	return a.Stage.DType
}

func (a *adapterFolder) bytes() (n int64) {
	adapters, beside := a.tensors()
	for _, p := range adapters {
		n += p.Elems() * a.adapterType(p).Size()
	}
	for _, p := range beside {
		n += p.Elems() * a.Stage.DType.Size()
	}
	return n
}

func (a *adapterFolder) names() []string {
	return append(a.tokenizerNames(), checkpoint.AdapterConfigFile, checkpoint.AdapterFile)
}

func (a *adapterFolder) details() []blocks.Line {
	adapters, beside := a.tensors()
	spec, _ := a.adapted()
	text := fmt.Sprintf("%s parameters in adapters of rank %d", words.Count(ops.Count(adapters, nil)), spec.R)
	if spec.R != a.Stage.Peft.R {
		text += fmt.Sprintf(", twice %d: what was trained, less the singular vectors that it began with", a.Stage.Peft.R)
	}
	if len(beside) > 0 {
		text += fmt.Sprintf(", and %s in modules beside them", words.Count(ops.Count(beside, nil)))
	}
	return []blocks.Line{{About: "adapters", Text: text}, {About: "base", Text: a.base}}
}

func (*adapterFolder) library() (name, tag string) { return "peft", "lora" }

func (a *adapterFolder) intro() string {
	spec, _ := a.adapted()
	scale := fmt.Sprintf("lora_alpha %g", spec.Alpha)
	if spec.UseRSLora {
		scale += ", use_rslora"
	}
	adapters, beside := a.tensors()
	more := ""
	if len(beside) > 0 {
		more = fmt.Sprintf(", and %s in modules that were trained beside them", words.Count(ops.Count(beside, nil)))
	}
	return fmt.Sprintf("LoRA adapters of rank %d (%s) for %s: %s parameters%s, without the model that they are added to.", spec.R, scale,
		modelcard.Code(a.base), words.Count(ops.Count(adapters, nil)), more)
}

func (a *adapterFolder) hubBase(*blocks.Run) string {
	if a.onHub {
		return a.base
	}
	return ""
}

func (a *adapterFolder) use() modelcard.Section {
	revision := ""
	if a.revision != "" {
		revision = fmt.Sprintf(", revision=%q", a.revision)
	}
	return modelcard.Section{Title: "Use", Code: `from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(folder)
base = AutoModelForCausalLM.from_pretrained(` + strconv.Quote(a.base) + revision + `, dtype="auto")
model = PeftModel.from_pretrained(base, folder)
` + a.generates()}
}

func (a *adapterFolder) parts(ctx context.Context, tok *tokenizer.Tokenizer, from *result, flaw *forward.Flaw) ([]checkpoint.Part, error) {
	parts, err := a.tokenizerParts(tok)
	if err != nil {
		return nil, err
	}
	kept, err := from.adapters()
	if err != nil {
		return nil, err
	}
	spec, list := a.adapted()
	config := spec.Config(list)
	config.Base, config.Revision, config.Inference, config.ModulesToSave = a.base, a.revision, true, a.Stage.BesideModules()
	b, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return nil, err
	}
	read := func(f tensorFile, p ops.Param, name string, as gpu.DType) checkpoint.Tensor {
		return stored(ctx, f, name, p.Name,
			checkpoint.Tensor{Name: checkpoint.AdapterPrefix + p.Name, Shape: p.Shape, DType: as}, flaw)
	}
	var tensors []checkpoint.Tensor
	adapters, beside := a.tensors()
	for _, p := range adapters {
		tensors = append(tensors, read(kept, p, checkpoint.AdapterPrefix+p.Name, a.adapterType(p)))
	}
	for _, p := range beside {
		tensors = append(tensors, read(from, p, p.Name, a.Stage.DType))
	}
	return append(parts, checkpoint.Bytes(checkpoint.AdapterConfigFile, append(b, '\n')),
		checkpoint.Tensors(checkpoint.AdapterFile, tensors)), nil
}

// tokenizerNames lists the files of the tokenizer, its template among them.
func (e *Export) tokenizerNames() []string {
	list := []string{checkpoint.TokenizerFile, chat.TokenizerConfig, specialTokensFile}
	if _, ok := e.Stage.Tokenizer.Chat.Alone(); ok {
		list = append(list, chat.TemplateFile)
	}
	return list
}
