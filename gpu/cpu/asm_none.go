//go:build !amd64 || noasm

package cpu

func archVariants() []variant { return nil }
