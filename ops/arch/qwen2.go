package arch

var _ = register(&Architecture{
	Type: "qwen2", Class: "Qwen2ForCausalLM", Title: "Qwen2",
	Doc: "Qwen2 and Qwen2.5 (Yang et al. 2024, arXiv 2407.10671): q, k and v have biases, and no other projection.",
	Fields: []Field{
		vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, headDim,
		hiddenAct, maxPositionEmbeddings.defaultTo(32768), rmsNormEps, ropeTheta, ropeScaling,
		tieWordEmbeddings, initializerRange, layerNormScaling,
		layerNormDepths,
	},
	Features: Features{QKVBias: true},
	absent:   qwenAbsent,
	never:    []string{"attention_bias", "mlp_bias"},
	neutral:  map[string]string{"qkv_bias": "true", "use_qkv_bias": "true"},
	window:   qwenWindow,
	written:  qwenWritten,
})

// What Qwen2 and Qwen3 share: a window that counts only where use_sliding_window is true, from layer
// max_window_layers on.
var (
	qwenAbsent  = map[string]string{"num_key_value_heads": "32", "sliding_window": "4096", "max_window_layers": "28"}
	qwenWritten = map[string]any{"use_sliding_window": false, "sliding_window": nil}
	qwenWindow  = &window{
		gated: true,
		keys:  true,
		usual: func(c Config, k windowKeys) bool { return k.maxLayers < c.NumHiddenLayers },
	}
)
