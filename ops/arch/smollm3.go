package arch

var _ = register(&Architecture{
	Type: "smollm3", Class: "SmolLM3ForCausalLM", Title: "SmolLM3",
	Doc: "SmolLM3 (Bakouch et al. 2025): Llama with layers that rotate nothing " +
		"(NoPE, arXiv 2501.18795), every fourth by default.",
	Fields: []Field{
		vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, headDim,
		hiddenAct, maxPositionEmbeddings.defaultTo(32768), rmsNormEps, ropeTheta.defaultTo(2e6), ropeScaling,
		tieWordEmbeddings.defaultTo(true), attentionBias, mlpBias, initializerRange, noRopeLayerInterval,
		noRopeLayers, layerNormScaling, layerNormDepths,
	},
	absent:  map[string]string{"num_key_value_heads": "4"},
	window:  &window{keys: true, usual: func(c Config, k windowKeys) bool { return k.use && c.skipsRope() }},
	written: map[string]any{"use_sliding_window": false, "sliding_window": nil},
})
