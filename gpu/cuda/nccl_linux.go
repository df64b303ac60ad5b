//go:build amd64 || arm64

package cuda

import (
	"fmt"

	"github.com/ebitengine/purego"
)

// openNCCL opens a library and finds its functions.
func openNCCL(path string) (*ncclLibrary, error) {
	lib, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, err
	}
	l := &ncclLibrary{path: path}
	for symbol, f := range l.symbols() {
		if _, err := purego.Dlsym(lib, symbol); err != nil {
			return nil, fmt.Errorf("%s is no NCCL of 2.14 or later: %w", path, err)
		}
		purego.RegisterLibFunc(f, lib, symbol)
	}
	return l, l.check()
}
