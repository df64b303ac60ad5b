package arch

var llama = register(&Architecture{
	Type: "llama", Class: "LlamaForCausalLM", Title: "Llama",
	Doc: "Llama (Touvron et al. 2023, arXiv 2302.13971), with grouped-query attention.",
	Fields: []Field{
		vocabSize, hiddenSize, intermediateSize, numHiddenLayers, numAttentionHeads, numKeyValueHeads, headDim,
		hiddenAct, maxPositionEmbeddings, rmsNormEps, ropeTheta, ropeScaling, tieWordEmbeddings, attentionBias,
		mlpBias, initializerRange, layerNormScaling, layerNormDepths,
	},
	written: map[string]any{"pretraining_tp": 1},
})
