package arch

var _ = register(&Architecture{
	Type: "qwen3", Class: "Qwen3ForCausalLM", Title: "Qwen3",
	Doc: "Qwen3 (Yang et al. 2025, arXiv 2505.09388): q and k are normalised in each head, " +
		"whose width is 128 whatever `hidden_size` is.",
	Fields: []Field{
		vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads,
		headDim.defaultTo(128), hiddenAct, maxPositionEmbeddings.defaultTo(32768), rmsNormEps, ropeTheta,
		ropeScaling, tieWordEmbeddings, attentionBias, initializerRange, layerNormScaling,
		layerNormDepths,
	},
	Features: Features{QKNorm: QKNormPerHead},
	absent:   qwenAbsent,
	never:    []string{"mlp_bias"},
	neutral:  map[string]string{"qk_norm": "true", "qk_layernorm": "true", "use_qk_norm": "true"},
	window:   qwenWindow,
	written:  qwenWritten,
})
