package program

import (
	"fmt"

	"stepflow/gpu"
)

// Precisions are the element types that the language has words for.
var Precisions = map[string]gpu.DType{"fp32": gpu.F32, "bf16": gpu.BF16}

// FrozenDTypes are the element types that the language has words for in which frozen weights may be stored.
var FrozenDTypes = map[string]gpu.DType{"bf16": gpu.BF16, "int8": gpu.RowInt8, "nf4": gpu.NF4}

// Precision is the language's word for an element type: "fp32", "bf16".
func Precision(t gpu.DType) string {
	for name, x := range Precisions {
		if x == t {
			return name
		}
	}
	return t.String()
}

// Computes returns why a device cannot train in an element type; nil if it can.
func Computes(caps gpu.Caps, t gpu.DType) error {
	if caps.Supports(t) {
		return nil
	}
	return fmt.Errorf("the device %s does not compute in %v: set precision = \"fp32\", or use another device", caps.Kind, t)
}
