//go:build cudaemu

package kernels

import "embed"

// Sources are what package emu compiles. It imports them so that a change makes it compile again.
//
//go:embed *.cu *.cuh
var Sources embed.FS
