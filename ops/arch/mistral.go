package arch

var _ = register(&Architecture{
	Type: "mistral", Class: "MistralForCausalLM", Title: "Mistral",
	Doc: "Mistral (Jiang et al. 2023, arXiv 2310.06825): Llama without biases, in sequences " +
		"no longer than its `sliding_window`.",
	Fields: []Field{
		vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, headDim,
		hiddenAct, maxPositionEmbeddings.defaultTo(131072), rmsNormEps, ropeTheta, ropeScaling,
		tieWordEmbeddings, initializerRange, layerNormScaling, layerNormDepths,
	},
	absent:  map[string]string{"num_key_value_heads": "8", "sliding_window": "4096"},
	never:   []string{"attention_bias", "mlp_bias"},
	window:  &window{usual: func(Config, windowKeys) bool { return true }},
	written: map[string]any{"sliding_window": nil},
})
