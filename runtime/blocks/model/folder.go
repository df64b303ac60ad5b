package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"stepflow/dsl"
	"stepflow/fineweb"
	"stepflow/fineweb/hub"
	"stepflow/foreign"
	"stepflow/ops/arch"
	"stepflow/runtime/blocks"
	"stepflow/runtime/checkpoint"
)

// folderOf resolves the from of a model: a path, or hf://ORG/NAME[@REVISION] in the cache of
// Hugging Face's tools (HF_HUB_CACHE, HF_HOME/hub or ~/.cache/huggingface/hub).
func folderOf(w *blocks.World, from string) (string, error) {
	if !hub.Is(from) {
		if strings.Contains(from, "://") {
			return "", fmt.Errorf("%s cannot be fetched: give a folder, or hf://ORG/NAME of a model that was downloaded", from)
		}
		return w.Path(from), nil
	}
	repo, _, err := hub.Parse(from)
	if err != nil {
		return "", err
	}
	folder, err := repo.Folder()
	if err != nil {
		return "", fmt.Errorf("%s is not in the cache (%w), and models are not downloaded: run \"hf download %s\", or "+
			"give a folder", from, err, repo.Name)
	}
	return folder, nil
}

// read reads the folder of a model. It checks that the folder has every setting and tensor that the model needs and no
// other that changes its numbers, before it allocates anything of a size that config.json claims.
func (m *Model) read(ctx context.Context, p *blocks.Planned, told arch.Model, d *dsl.Decoded) hcl.Diagnostics {
	unreadable := func(err error) hcl.Diagnostics { return blocks.Problem(d, "from", "Unreadable model", err) }
	var notes []arch.Note
	var path string
	var err error
	if m.Model, notes, path, err = readConfig(m.Folder); err != nil {
		return unreadable(err)
	}
	diags := m.agrees(told, path, notes, d)
	if diags.HasErrors() {
		return diags
	}
	for _, n := range notes {
		p.Warn(fmt.Sprintf("%s: %s", path, n.Text))
	}
	f, err := openWeights(m.Folder)
	if err != nil {
		return unreadable(err)
	}
	defer f.Close()
	if err := checkTensors(f, m.Model, path); err != nil {
		return blocks.Problem(d, "from", "Another architecture", err)
	}
	if m.hash, err = fineweb.Identity(ctx, append(f.Files(), path), p.World.Hashing); err != nil {
		return unreadable(err)
	}
	return nil
}

// readConfig reads what model the config.json of a folder describes.
func readConfig(folder string) (m arch.Model, notes []arch.Note, path string, err error) {
	path = filepath.Join(folder, checkpoint.ConfigFile)
	if err := checkFolder(folder); err != nil {
		return m, nil, path, err
	}
	m, notes, err = parseConfig(path)
	return m, notes, path, err
}

func parseConfig(path string) (m arch.Model, notes []arch.Note, err error) {
	b, err := foreign.ReadFile(path, arch.MaxConfigBytes)
	if err != nil {
		return m, nil, err
	}
	if m, notes, err = arch.ParseConfig(b); err != nil {
		err = fmt.Errorf("reading %s: %w", path, err)
	}
	return m, notes, err
}

// Open opens the weights of the model in a folder, and checks that they are those that its config.json describes. Adapters
// may lie beside them, as in a checkpoint of a stage that goes on: they are the caller's to merge.
func Open(folder string) (m arch.Model, f *checkpoint.Folder, err error) {
	path := filepath.Join(folder, checkpoint.ConfigFile)
	switch {
	case !holds(folder, checkpoint.AdapterFile):
		err = checkFolder(folder)
	case !holds(folder, checkpoint.ConfigFile):
		err = adaptersAlone(folder)
	}
	if err == nil {
		m, _, err = parseConfig(path)
	}
	if err != nil {
		return m, nil, err
	}
	if f, err = openWeights(folder); err != nil {
		return m, nil, err
	}
	if err = addComposed(f, folder); err == nil {
		err = checkTensors(f, m, path)
	}
	if err != nil {
		f.Close()
		return m, nil, err
	}
	return m, f, nil
}

// addComposed adds the weights that adapters in the folder take the place of, if there are any.
func addComposed(f *checkpoint.Folder, folder string) error {
	if !holds(folder, checkpoint.AdapterFile) {
		return nil
	}
	adapters, err := checkpoint.Open(filepath.Join(folder, checkpoint.AdapterFile))
	if err != nil {
		return err
	}
	defer adapters.Close()
	f.AddComposed(adapters)
	return nil
}

// adaptersAlone is the error of a folder as PEFT writes it.
func adaptersAlone(folder string) error {
	var base struct {
		Name string `json:"base_model_name_or_path"`
	}
	named := ""
	if b, err := foreign.ReadFile(filepath.Join(folder, checkpoint.AdapterConfigFile), arch.MaxConfigBytes); err == nil &&
		json.Unmarshal(b, &base) == nil && base.Name != "" {
		named = fmt.Sprintf(" (%s names %s)", checkpoint.AdapterConfigFile, foreign.Shown(base.Name))
	}
	return fmt.Errorf("%s holds adapters without the model that they are added to%s: name the stage that trained them, or merge them "+
		"with PEFT's merge_and_unload", folder, named)
}

// openWeights opens the safetensors of a folder. If it has none, the error names the weights that it has instead.
func openWeights(folder string) (*checkpoint.Folder, error) {
	f, err := checkpoint.OpenFolder(folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(err, otherWeights(folder))
	}
	return f, err
}

// agrees compares the attributes of a block with its folder.
func (m *Model) agrees(told arch.Model, path string, notes []arch.Note, d *dsl.Decoded) (diags hcl.Diagnostics) {
	if told.Arch != nil && told.Arch != m.Arch {
		as, ok := m.As(told.Arch)
		if !ok {
			return hcl.Diagnostics{d.Error("from", "Another architecture",
				fmt.Sprintf("%s describes %s: write model %q, or model \"auto\".",
					path, m.Arch.Title, m.Arch.Type))}
		}
		m.Model = as
	}
	listed := told
	listed.NumHiddenLayers = m.NumHiddenLayers
	for _, x := range listed.CheckLists() {
		diags = append(diags, d.Error(x.Attribute, "Impossible model", blocks.Sentence(x.What)+". "+x.Do))
	}
	for _, f := range arch.Attributes() {
		switch {
		case !d.Has(f.Name):
			continue
		case !m.Arch.Has(f.Name):
			diags = append(diags, d.Error(f.Name, "Another architecture",
				fmt.Sprintf("%s describes %s, which has no %s. Leave it out.", path, m.Arch.Title, f.Name)))
			continue
		case f.Same(told.Config, m.Config):
			continue
		}
		text := fmt.Sprintf("%s is %s here and %s in %s. Leave it out, or start from another folder.",
			f.Name, f.Show(told.Config), f.Show(m.Config), path)
		for _, n := range notes {
			if n.Key == f.Name {
				text += " " + blocks.Sentence(n.Text) + "."
			}
		}
		diags = append(diags, d.Error(f.Name, "Another architecture", text))
	}
	return diags
}

// holds reports whether a folder has an entry of this name.
func holds(dir, name string) bool {
	_, err := os.Lstat(filepath.Join(dir, name))
	return err == nil
}

// checkFolder reports a path that is not the folder of a whole model.
func checkFolder(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is a file: from takes the folder that holds config.json and safetensors", dir)
	case holds(dir, "adapter_config.json"):
		return fmt.Errorf("%s holds an adapter (adapter_config.json), which would change the model's numbers and is not "+
			"read: merge it with PEFT's merge_and_unload and save the merged model, or remove the adapter's files", dir)
	case holds(dir, checkpoint.ConfigFile):
		return nil
	}
	other := otherWeights(dir)
	if other != nil && strings.Contains(other.Error(), ", gguf_file=") {
		return other // GGUF holds what config.json would say
	}
	return errors.Join(fmt.Errorf("%s has no %s, which says what model it is: take it from where the weights come from",
		dir, checkpoint.ConfigFile), other)
}

// convert is a command that writes a model in a form that can be read.
const convert = `python -c "import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(sys.argv[1]%s).save_pretrained(sys.argv[2])" %s %s`

// otherForms lists files that hold weights in a form that is not read: the pattern of their names, what they are, and
// the argument with which from_pretrained reads them, or "-" if it does not.
var otherForms = []struct{ pattern, what, argument string }{
	{"pytorch_model*.bin", "weights as pickles of PyTorch, which may hold code and are not read", ""},
	{"*.gguf", "weights as GGUF, which is not read", ", gguf_file='%s'"},
	{"tf_model*.h5", "weights of TensorFlow, which are not read", ", from_tf=True"},
	{"flax_model*.msgpack", "weights of Flax, which are not read", ", from_flax=True"},
	{"consolidated*", "weights in the layout of Meta or Mistral, which is not read: take the model's files for " +
		"transformers", "-"},
	{"*.pt", "weights as pickles of PyTorch, which may hold code and are not read: save them with transformers", "-"},
	{"*.pth", "weights as pickles of PyTorch, which may hold code and are not read: save them with transformers", "-"},
	{"model-*-of-*.safetensors", "a shard of a model, without model.safetensors.index.json, which says where each " +
		"tensor is: take it from where the shards come from", "-"},
	{"*.safetensors", "safetensors under another name: the weights lie in model.safetensors, or in shards that " +
		"model.safetensors.index.json names", "-"},
}

// otherWeights returns an error that names the weights in a folder that has none in readable safetensors, and what to
// do; nil if there are none.
func otherWeights(dir string) error {
	if holds(dir, checkpoint.ModelFile) || holds(dir, checkpoint.ModelFile+".index.json") {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, form := range otherForms {
		for _, e := range entries {
			if ok, _ := filepath.Match(form.pattern, e.Name()); !ok {
				continue
			}
			name, argument := foreign.Shown(e.Name()), form.argument
			if argument == "-" {
				return fmt.Errorf("%s holds %s, %s", dir, name, form.what)
			}
			if strings.Contains(argument, "%s") {
				argument = fmt.Sprintf(argument, name)
			}
			quoted := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
			return fmt.Errorf("%s holds %s, %s. Convert it, and start from the new folder: %s", dir, name, form.what,
				fmt.Sprintf(convert, argument, quoted(dir), quoted(dir+"-safetensors")))
		}
	}
	return nil
}
