package arch

// Granite is Llama with four multipliers, which must be those under which it computes what Llama does.
var _ = register(&Architecture{
	Type: "granite", Class: "GraniteForCausalLM", as: llama,
	absent: map[string]string{"attention_multiplier": "1"},
})
