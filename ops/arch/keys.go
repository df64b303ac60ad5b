package arch

import (
	"math"
	"strings"
)

// others are model types that are met often, the class of their language model, and why theirs is another computation.
var others = map[string]struct{ class, why string }{
	"bloom": {"BloomForCausalLM", "it has ALiBi instead of rotary positions"},
	"cohere": {"CohereForCausalLM",
		"attention and feed-forward layer stand side by side, and its norms subtract the mean"},
	"cohere2": {"Cohere2ForCausalLM",
		"attention and feed-forward layer stand side by side, and its norms subtract the mean"},
	"deepseek_v2": {"DeepseekV2ForCausalLM", "its attention is multi-head latent attention"},
	"deepseek_v3": {"DeepseekV3ForCausalLM", "its attention is multi-head latent attention"},
	"exaone4":     {"Exaone4ForCausalLM", "it has norms on q and k, and norms after the layers"},
	"falcon":      {"FalconForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
	"gemma": {"GemmaForCausalLM",
		"its norms multiply by 1 + weight, its embeddings are scaled and its activation is GELU"},
	"gemma2": {"Gemma2ForCausalLM",
		"its norms multiply by 1 + weight, it has norms after the layers and soft-capped logits"},
	"gemma3": {"Gemma3ForConditionalGeneration",
		"its norms multiply by 1 + weight, and it has norms on q and k and after the layers"},
	"gemma3_text": {"Gemma3ForCausalLM",
		"its norms multiply by 1 + weight, and it has norms on q and k and after the layers"},
	"glm": {"GlmForCausalLM", "it rotates half of the channels, in pairs of neighbours"},
	"glm4": {"Glm4ForCausalLM",
		"it rotates half of the channels, in pairs of neighbours, and has norms after the layers"},
	"gpt2":     {"GPT2LMHeadModel", "its positions are learned, and its norms subtract the mean"},
	"gpt_neox": {"GPTNeoXForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
	"gptj":     {"GPTJForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
	"gpt_oss": {"GptOssForCausalLM",
		"its feed-forward layers are mixtures of experts, and its attention has sinks"},
	"mixtral":  {"MixtralForCausalLM", "its feed-forward layers are mixtures of experts"},
	"mpt":      {"MptForCausalLM", "it has ALiBi instead of rotary positions"},
	"nemotron": {"NemotronForCausalLM", "its norms subtract the mean, and its activation is squared ReLU"},
	"olmo":     {"OlmoForCausalLM", "its norms have no weights and subtract the mean"},
	"olmo3": {"Olmo3ForCausalLM",
		"it has norms on q and k, and norms after the layers instead of before them"},
	"opt": {"OPTForCausalLM", "its positions are learned, and its norms subtract the mean"},
	"phi": {"PhiForCausalLM",
		"attention and feed-forward layer stand side by side, and it rotates a part of the channels"},
	"phi3":      {"Phi3ForCausalLM", "q, k and v are one tensor, and so are gate and up"},
	"qwen2_moe": {"Qwen2MoeForCausalLM", "its feed-forward layers are mixtures of experts"},
	"qwen3_moe": {"Qwen3MoeForCausalLM",
		"its feed-forward layers are mixtures of experts, and it has norms on q and k"},
	"stablelm":   {"StableLmForCausalLM", "its norms subtract the mean, and it rotates a part of the channels"},
	"starcoder2": {"Starcoder2ForCausalLM", "its norms subtract the mean, and its feed-forward layer has no gate"},
}

// neutral are keys that change what a model computes, with the values under which it computes what this package does.
// Null is always one of them; a value that a configuration must have besides is given by also.
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

// harmless are keys that change no logit: names, token ids, generation, training and how the file was made.
// pretraining_tp is among them: it splits products without changing them.
var harmless = words(`
	_attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash
	_flash_attn_2_enabled _name_or_path architectures attn_implementation bad_words_ids begin_suppress_tokens
	bos_token_id chunk_size_feed_forward decoder_start_token_id diversity_penalty do_sample dtype early_stopping
	encoder_no_repeat_ngram_size eos_token_id exponential_decay_length_penalty finetuning_task
	forced_bos_token_id forced_eos_token_id id2label is_decoder is_llama_config label2id length_penalty
	max_length max_sequence_length max_window_layers min_length model_max_length model_type no_repeat_ngram_size
	num_beam_groups num_beams num_labels num_return_sequences output_attentions output_hidden_states
	output_router_logits output_scores pad_token_id prefix pretraining_tp problem_type remove_invalid_values
	repetition_penalty return_dict return_dict_in_generate sep_token_id seq_length suppress_tokens
	task_specific_params temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype
	torchscript transformers_version typical_p unsloth_fixed unsloth_version use_bfloat16 use_cache
	use_sliding_window`)

// elsewhere are keys that ParseConfig reads besides those of Fields.
var elsewhere = words(`attention_dropout auto_map layer_types original_max_position_embeddings rope_parameters
	sliding_window`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}
