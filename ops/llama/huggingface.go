package llama

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"stepflow/foreign"
)

// MaxConfigBytes bounds a config.json.
const MaxConfigBytes = 16 << 20

// families are the model types that compute what this package does, by their settings. Their tensors have the same names.
var families = map[string]struct {
	class  string            // of its language model in transformers
	absent map[string]string // values of keys that are not there, in JSON, where they differ from Llama's
	never  []string          // keys that transformers does not read there, which may be false
	window bool              // has sliding_window, which transformers does not read in the others
}{
	"llama": {class: "LlamaForCausalLM"},
	"mistral": {class: "MistralForCausalLM", never: []string{"attention_bias", "mlp_bias"}, window: true,
		absent: map[string]string{"num_key_value_heads": "8", "max_position_embeddings": "131072", "sliding_window": "4096"}},
	"granite": {class: "GraniteForCausalLM", absent: map[string]string{"attention_multiplier": "1"}},
}

const familyNames = "only llama is supported, and mistral and granite with Llama's settings"

// others are model types that are met often, the class of their language model, and why theirs is another computation.
var others = map[string]struct{ class, why string }{
	"bloom":       {"BloomForCausalLM", "it has ALiBi instead of rotary positions"},
	"cohere":      {"CohereForCausalLM", "attention and feed-forward layer stand side by side, and its norms subtract the mean"},
	"cohere2":     {"Cohere2ForCausalLM", "attention and feed-forward layer stand side by side, and its norms subtract the mean"},
	"deepseek_v2": {"DeepseekV2ForCausalLM", "its attention is multi-head latent attention"},
	"deepseek_v3": {"DeepseekV3ForCausalLM", "its attention is multi-head latent attention"},
	"exaone4":     {"Exaone4ForCausalLM", "it has norms on q and k, and norms behind the layers"},
	"falcon":      {"FalconForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
	"gemma":       {"GemmaForCausalLM", "its norms multiply by 1 + weight, its embeddings are scaled and its activation is GELU"},
	"gemma2":      {"Gemma2ForCausalLM", "its norms multiply by 1 + weight, it has norms behind the layers and soft-capped logits"},
	"gemma3":      {"Gemma3ForConditionalGeneration", "its norms multiply by 1 + weight, and it has norms on q and k and behind the layers"},
	"gemma3_text": {"Gemma3ForCausalLM", "its norms multiply by 1 + weight, and it has norms on q and k and behind the layers"},
	"glm":         {"GlmForCausalLM", "it rotates half of the channels, in pairs of neighbours"},
	"glm4":        {"Glm4ForCausalLM", "it rotates half of the channels, in pairs of neighbours, and has norms behind the layers"},
	"gpt2":        {"GPT2LMHeadModel", "its positions are learned, and its norms subtract the mean"},
	"gpt_neox":    {"GPTNeoXForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
	"gptj":        {"GPTJForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
	"gpt_oss":     {"GptOssForCausalLM", "its feed-forward layers are mixtures of experts, and its attention has sinks"},
	"mixtral":     {"MixtralForCausalLM", "its feed-forward layers are mixtures of experts"},
	"mpt":         {"MptForCausalLM", "it has ALiBi instead of rotary positions"},
	"nemotron":    {"NemotronForCausalLM", "its norms subtract the mean, and its activation is squared ReLU"},
	"olmo":        {"OlmoForCausalLM", "its norms have no weights and subtract the mean"},
	"olmo2":       {"Olmo2ForCausalLM", "it has norms on q and k, and norms behind the layers instead of before them"},
	"olmo3":       {"Olmo3ForCausalLM", "it has norms on q and k, and norms behind the layers instead of before them"},
	"opt":         {"OPTForCausalLM", "its positions are learned, and its norms subtract the mean"},
	"phi":         {"PhiForCausalLM", "attention and feed-forward layer stand side by side, and it rotates a part of the channels"},
	"phi3":        {"Phi3ForCausalLM", "q, k and v are one tensor, and so are gate and up"},
	"qwen2":       {"Qwen2ForCausalLM", "q, k and v have biases, and o has none"},
	"qwen2_moe":   {"Qwen2MoeForCausalLM", "its feed-forward layers are mixtures of experts"},
	"qwen3":       {"Qwen3ForCausalLM", "it has norms on q and k"},
	"qwen3_moe":   {"Qwen3MoeForCausalLM", "its feed-forward layers are mixtures of experts, and it has norms on q and k"},
	"smollm3":     {"SmolLM3ForCausalLM", "some of its layers have no positions"},
	"stablelm":    {"StableLmForCausalLM", "its norms subtract the mean, and it rotates a part of the channels"},
	"starcoder2":  {"Starcoder2ForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
}

// neutral are keys that change what a model computes, with the values under which it computes what this package does. Null
// is always one of them; a value that a configuration must have besides is given by also.
var neutral = map[string]struct {
	values string // JSON, one beside the other
	also   func(Config) float64
}{
	"add_cross_attention":         {values: "false"},
	"alibi":                       {values: "false"},
	"attention_chunk_size":        {},
	"attention_multiplier":        {also: func(c Config) float64 { return 1 / math.Sqrt(float64(c.HeadDim)) }},
	"attention_out_bias":          {values: "false"},
	"attn_logit_softcapping":      {},
	"bias":                        {values: "false"},
	"causal":                      {values: "true"},
	"clip_qkv":                    {},
	"compression_config":          {values: "{}"},
	"cross_attention_hidden_size": {},
	"dim_model_base":              {},
	"embedding_multiplier":        {values: "1"},
	"embedding_scale":             {values: "1"},
	"final_logit_softcapping":     {},
	"is_causal":                   {values: "true"},
	"is_encoder_decoder":          {values: "false"},
	"logit_scale":                 {values: "1"},
	"logits_scaling":              {values: "1"},
	"moe_intermediate_size":       {values: "0"},
	"multi_query":                 {values: "false"},
	"n_routed_experts":            {values: "0"},
	"n_shared_experts":            {values: "0"},
	"no_rope_layer_interval":      {values: "0"},
	"no_rope_layers":              {values: "[]"},
	"num_experts":                 {values: "0"},
	"num_experts_per_tok":         {values: "0"},
	"num_local_experts":           {values: "0"},
	"parallel_attn":               {values: "false"},
	"partial_rotary_factor":       {values: "1"},
	"position_embedding_type":     {values: `"rope" "rotary"`},
	"pruned_heads":                {values: "{}"},
	"qk_layernorm":                {values: "false"},
	"qk_norm":                     {values: "false"},
	"qkv_bias":                    {values: "false"},
	"quantization":                {values: "{}"},
	"quantization_config":         {values: "{}"},
	"query_pre_attn_scalar":       {also: func(c Config) float64 { return float64(c.HeadDim) }},
	"residual_multiplier":         {values: "1"},
	"rope_interleaved":            {values: "false"},
	"rope_ratio":                  {values: "1"},
	"rotary_dim":                  {also: func(c Config) float64 { return float64(c.HeadDim) }},
	"rotary_pct":                  {values: "1"},
	"scale_depth":                 {},
	"scale_emb":                   {values: "1"},
	"scale_embeddings":            {values: "false"},
	"text_config":                 {values: "{}"},
	"use_alibi":                   {values: "false"},
	"use_bias":                    {values: "false"},
	"use_bidirectional_attention": {values: "false"},
	"use_mrope":                   {values: "false"},
	"use_parallel_residual":       {values: "false"},
	"use_qk_norm":                 {values: "false"},
	"use_qkv_bias":                {values: "false"},
	"use_rope":                    {values: "true"},
}

// harmless are keys that change no logit: names, token ids, generation, training and how the file was made. pretraining_tp
// is among them: it splits products without changing them.
var harmless = words(`_attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash _flash_attn_2_enabled
	_name_or_path architectures attn_implementation bad_words_ids begin_suppress_tokens bos_token_id chunk_size_feed_forward
	decoder_start_token_id diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size eos_token_id
	exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id id2label is_decoder is_llama_config label2id
	length_penalty max_length max_sequence_length max_window_layers min_length model_max_length model_type no_repeat_ngram_size
	num_beam_groups num_beams num_labels num_return_sequences output_attentions output_hidden_states output_router_logits
	output_scores pad_token_id prefix pretraining_tp problem_type remove_invalid_values repetition_penalty return_dict
	return_dict_in_generate sep_token_id seq_length suppress_tokens task_specific_params temperature tf_legacy_loss
	tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers_version typical_p unsloth_fixed
	unsloth_version use_bfloat16 use_cache use_sliding_window`)

// elsewhere are keys that ParseConfig reads itself, beside those of Fields.
var elsewhere = words("attention_dropout auto_map layer_types original_max_position_embeddings rope_parameters sliding_window")

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

// Note is what a user should know of a configuration that was read: the key of config.json, and a sentence without its full stop.
type Note struct{ Key, Text string }

// ParseConfig reads a config.json of Hugging Face. Whatever in it would make another computation of the model is an error
// that names it; what is read differently from how it is written, and unknown keys, are noted. An absurd number of layers
// passes: the weights beside it show that. The caller names the file in errors.
func ParseConfig(b []byte) (c Config, notes []Note, err error) {
	members, err := foreign.Object(b)
	if err != nil {
		return c, nil, err
	}
	raw, there := map[string]json.RawMessage{}, map[string]bool{}
	for _, m := range members {
		there[m.Name] = true
		if string(m.Value) != "null" {
			raw[m.Name] = m.Value
		}
	}
	family, err := familyOf(raw)
	if err != nil {
		return c, nil, err
	}
	for name, v := range families[family].absent {
		if !there[name] {
			raw[name] = json.RawMessage(v)
		}
	}
	var given []string
	for _, f := range Fields {
		switch {
		case f.Name == "rope_theta" || f.Name == "rope_scaling":
		case raw[f.Name] != nil:
			if err := read(raw, f.Name, f.at(&c)); err != nil {
				return c, nil, err
			}
			given = append(given, f.Name)
		case f.Needed:
			return c, nil, fmt.Errorf("%s is missing", f.Name)
		}
	}
	for _, name := range families[family].never {
		if v := string(raw[name]); v != "" && v != "false" {
			return c, nil, fmt.Errorf("%s is %s, and model_type %s has none", name, foreign.Shown(cut(v)), family)
		}
	}
	rotary, err := readRope(raw, &c)
	if err != nil {
		return c, nil, err
	}
	if c.HiddenAct == "swish" { // another name of the same
		c.HiddenAct = "silu"
	}
	c.Fill(append(given, rotary...)...)
	for _, p := range c.Check() {
		if p.Attribute != "num_hidden_layers" || c.NumHiddenLayers < 1 {
			return c, nil, errors.New(p.What)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		if err := checkNeutral(name, raw[name], c); err != nil {
			return c, nil, err
		}
	}
	if notes, err = window(raw, family, &c); err != nil {
		return c, nil, err
	}
	return c, append(notes, notesOf(raw)...), nil
}

// familyOf finds the model type, by model_type or, where that is missing, by architectures; the two must agree.
func familyOf(raw map[string]json.RawMessage) (string, error) {
	var kind string
	var classes []string
	if err := errors.Join(read(raw, "model_type", &kind), read(raw, "architectures", &classes)); err != nil {
		return "", err
	}
	if kind == "" && len(classes) == 0 {
		return "", errors.New("it has neither model_type nor architectures, so the kind of model is unknown: add \"model_type\": \"llama\" if it is one")
	}
	if kind == "" && len(classes) > 1 {
		return "", fmt.Errorf("it has no model_type, and architectures names %d classes, %s: leave the one whose weights these are, or give model_type", len(classes), foreign.Shown(cut(shown(classes))))
	}
	if kind == "" {
		for name, f := range families {
			if classes[0] == f.class {
				return name, nil
			}
		}
		for _, o := range others {
			if o.class == classes[0] {
				return "", fmt.Errorf("it is of the architecture %q: %s; %s", classes[0], o.why, familyNames)
			}
		}
		return "", fmt.Errorf("it is of the architecture %q; %s", classes[0], familyNames)
	}
	f, ok := families[kind]
	if !ok {
		if why := others[kind].why; why != "" {
			return "", fmt.Errorf("it is of model_type %q: %s; %s", kind, why, familyNames)
		}
		return "", fmt.Errorf("it is of model_type %q; %s", kind, familyNames)
	}
	if len(classes) > 0 && !slices.Contains(classes, f.class) {
		if strings.HasSuffix(classes[0], "ForCausalLM") {
			return "", fmt.Errorf("it is of model_type %q and of the architecture %q, which contradict each other: only %s is supported with it", kind, classes[0], f.class)
		}
		return "", fmt.Errorf("it is of model_type %q and of the architecture %q: its head is not that of a language model; only %s is supported", kind, classes[0], f.class)
	}
	return kind, nil
}

// readRope reads rotary positions, which newer files keep in rope_parameters and older ones in rope_theta and rope_scaling.
// Several places must agree. It gives the names of the fields it set.
func readRope(raw map[string]json.RawMessage, c *Config) (given []string, err error) {
	original := 0
	if err := read(raw, "original_max_position_embeddings", &original); err != nil {
		return nil, err
	}
	theta, where := 0.0, ""
	takes := func(x float64, place string) error {
		if where != "" && x != theta {
			return fmt.Errorf("rope_theta is %g in %s and %g in %s: leave the one that is right", theta, where, x, place)
		}
		theta, where, given = x, place, []string{"rope_theta"}
		return nil
	}
	if raw["rope_theta"] != nil {
		var x float64
		if err := read(raw, "rope_theta", &x); err != nil {
			return nil, err
		}
		if err := takes(x, "config.json itself"); err != nil {
			return nil, err
		}
	}
	var seen *RopeScaling
	for _, place := range []string{"rope_parameters", "rope_scaling"} {
		b := raw[place]
		if b == nil || strings.Join(strings.Fields(string(b)), "") == "{}" {
			continue
		}
		r, err := parseRope(place, b, original)
		if err != nil {
			return nil, err
		}
		if r.theta != nil {
			if err := takes(*r.theta, place); err != nil {
				return nil, err
			}
		}
		if seen != nil && *seen != r.scaling {
			return nil, fmt.Errorf("rope_parameters and rope_scaling say different things (rope_type %q and %q): leave the one that is right", seen.RopeType, r.scaling.RopeType)
		}
		seen = &r.scaling
	}
	c.RopeTheta, c.RopeScaling = theta, seen
	return given, nil
}

// checkNeutral is the error that a key asks for another computation.
func checkNeutral(name string, value json.RawMessage, c Config) error {
	n, ok := neutral[name]
	if !ok {
		return nil
	}
	var got any
	if err := json.Unmarshal(value, &got); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var want []string
	if n.also != nil {
		x := n.also(c)
		if v, ok := got.(float64); ok && math.Abs(v-x) <= 1e-6*x {
			return nil
		}
		want = append(want, fmt.Sprintf("%.8g", x))
	}
	for d := json.NewDecoder(strings.NewReader(n.values)); d.More(); {
		var v any
		if err := d.Decode(&v); err != nil {
			return err
		}
		same, text := shown(v), shown(got)
		if same == text {
			return nil
		}
		want = append(want, same)
	}
	if name == "quantization_config" || name == "compression_config" || name == "quantization" {
		return fmt.Errorf("%s says that the weights are quantised, which cannot be read: save the model in float32 or bfloat16 first", name)
	}
	if len(want) == 0 {
		want = []string{"null"}
	}
	return fmt.Errorf("%s is %s, which changes what the model computes: only %s is supported", name, foreign.Shown(cut(shown(got))), strings.Join(want, " or "))
}

func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func cut(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// window reads layer_types and sliding_window. Attention to the last so many positions is attention to all of them in no
// longer sequences, so that the window of a family that has one bounds max_position_embeddings. As in transformers, the layer
// types say whether it counts where they are given, and use_sliding_window does not.
func window(raw map[string]json.RawMessage, family string, c *Config) (notes []Note, err error) {
	const full, sliding = "full_attention", "sliding_attention"
	var types []string
	if err := read(raw, "layer_types", &types); err != nil {
		return nil, err
	}
	for _, t := range types {
		if t != full && t != sliding {
			return nil, fmt.Errorf("layer_types has %q; here all layers are of %q, or of %q where model_type has a window", foreign.Shown(t), full, sliding)
		}
	}
	n := 0
	err = read(raw, "sliding_window", &n)
	if !families[family].window {
		ignored := func(key string) {
			notes = append(notes, Note{key, fmt.Sprintf("%s is %s there, which is ignored, as it is by transformers: layers of model_type %s attend to all positions", key, foreign.Shown(cut(oneLine(raw[key]))), family)})
		}
		if raw["sliding_window"] != nil && n < c.MaxPositionEmbeddings && string(raw["use_sliding_window"]) != "false" {
			ignored("sliding_window")
		}
		if slices.Contains(types, sliding) {
			ignored("layer_types")
		}
		return notes, nil
	}
	if raw["sliding_window"] == nil || len(types) > 0 && !slices.Contains(types, sliding) {
		return nil, nil
	}
	switch {
	case err != nil:
		return nil, err
	case n < 1:
		return nil, fmt.Errorf("sliding_window is %d", n)
	case n >= c.MaxPositionEmbeddings:
		return nil, nil
	}
	text := fmt.Sprintf("max_position_embeddings counts as %d instead of %d: attention there sees the last %d positions (sliding_window), here all of them, which is the same in sequences no longer than that", n, c.MaxPositionEmbeddings, n)
	if string(raw["use_sliding_window"]) == "false" {
		text += fmt.Sprintf("; use_sliding_window is not read in model_type %s", family)
	}
	c.MaxPositionEmbeddings, c.SlidingWindow = n, n
	return []Note{{"max_position_embeddings", text}}, nil
}

func oneLine(b json.RawMessage) string { return strings.Join(strings.Fields(string(b)), " ") }

// notesOf are the keys that are ignored and say something.
func notesOf(raw map[string]json.RawMessage) (notes []Note) {
	known := map[string]bool{}
	for _, f := range Fields {
		known[f.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value := oneLine(raw[name])
		_, fixed := neutral[name]
		off := slices.Contains([]string{"false", "0", "0.0", `""`, "[]", "{}"}, value)
		shows := foreign.Shown(cut(value))
		switch {
		case off || known[name] || fixed || harmless[name]:
		case name == "attention_dropout":
			notes = append(notes, Note{name, fmt.Sprintf("attention_dropout is %s there; training here drops nothing out", shows)})
		case name == "auto_map":
			notes = append(notes, Note{name, "auto_map names code of the model's own, which is not run: its numbers are taken for those of its model_type"})
		case !elsewhere[name]:
			notes = append(notes, Note{name, fmt.Sprintf("%s is %s there, an unknown key that is ignored: check that it does not change what the model computes", foreign.Shown(cut(name)), shows)})
		}
	}
	return notes
}

// read decodes a member that is there.
func read(raw map[string]json.RawMessage, name string, into any) error {
	b, ok := raw[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		want := "of another form"
		switch into.(type) {
		case *int:
			want = "not a whole number in range"
		case *float64, **float64:
			want = "not a number in range"
		case *bool:
			want = "neither true nor false"
		case *string:
			want = "not a string"
		}
		return fmt.Errorf("%s is %s, %s", name, foreign.Shown(string(b[:min(len(b), 60)])), want)
	}
	return nil
}
