package arch

var _ = register(&Architecture{
	Type: "olmo2", Class: "Olmo2ForCausalLM", Title: "OLMo 2",
	Doc: "OLMo 2 (OLMo team 2024, arXiv 2501.00656): norms after attention and feed-forward layer, " +
		"and on q and k over all heads together.",
	Fields: []Field{
		vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, headDim,
		hiddenAct, maxPositionEmbeddings, rmsNormEps.defaultTo(1e-5), ropeTheta, ropeScaling,
		tieWordEmbeddings, attentionBias, initializerRange,
	},
	Features: Features{QKNorm: QKNormWhole, PostNorm: true},
	never:    []string{"mlp_bias", "layernorm_scaling"},
	neutral:  map[string]string{"qk_norm": "true", "qk_layernorm": "true", "use_qk_norm": "true"},
})
