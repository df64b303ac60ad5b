package cuda

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/ebitengine/purego"
)

// Find asks the driver for its cards, without linking it or making a context. STEPFLOW_LIBCUDA names its
// library where it is not found by name. An error says why there is none.
func Find() ([]Card, error) {
	name := "libcuda.so.1"
	if p := os.Getenv("STEPFLOW_LIBCUDA"); p != "" {
		name = p
	}
	lib, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("no NVIDIA driver: %w", err)
	}
	var q struct {
		init      func(flags uint32) int32
		version   func(*int32) int32
		count     func(*int32) int32
		get       func(*int32, int32) int32
		name      func(*byte, int32, int32) int32
		memory    func(*uint64, int32) int32
		attribute func(*int32, int32, int32) int32
	}
	for symbol, f := range map[string]any{
		"cuInit": &q.init, "cuDriverGetVersion": &q.version, "cuDeviceGetCount": &q.count, "cuDeviceGet": &q.get,
		"cuDeviceGetName":     &q.name,
		"cuDeviceTotalMem_v2": &q.memory, "cuDeviceGetAttribute": &q.attribute,
	} {
		if _, err := purego.Dlsym(lib, symbol); err != nil {
			return nil, fmt.Errorf("%s is no NVIDIA driver: %w", name, err)
		}
		purego.RegisterLibFunc(f, lib, symbol)
	}
	if code := q.init(0); code != 0 {
		return nil, fmt.Errorf("the NVIDIA driver does not start: %s", initError(code))
	}
	var version, count int32
	if q.version(&version) != 0 || q.count(&count) != 0 {
		return nil, errors.New("the NVIDIA driver does not tell its version and cards")
	}
	var cards []Card
	for i := int32(0); i < count; i++ {
		var dev, major, minor, processors int32
		var total uint64
		text := make([]byte, 256)
		for _, code := range []int32{q.get(&dev, i), q.name(&text[0], int32(len(text)), dev), q.memory(&total, dev),
			q.attribute(&major, 75, dev), q.attribute(&minor, 76, dev), q.attribute(&processors, 16, dev)} {
			if code != 0 {
				return nil, fmt.Errorf("the NVIDIA driver does not describe card %d (error %d)", i, code)
			}
		}
		label, _, _ := strings.Cut(string(text), "\x00")
		cards = append(cards, Card{Name: label, Major: int(major), Minor: int(minor), Total: int64(total),
			Processors: int(processors),
			Driver:     fmt.Sprintf("%d.%d", version/1000, version%1000/10)})
	}
	if len(cards) == 0 {
		return nil, errors.New("the NVIDIA driver has no card to show (CUDA_VISIBLE_DEVICES hides cards)")
	}
	return cards, nil
}

// initError names the codes of cuInit that users meet (CUresult in cuda.h).
func initError(code int32) string {
	switch code {
	case 100:
		return "it finds no card (CUDA_ERROR_NO_DEVICE)"
	case 34:
		return "it is a stub for linking, not a driver (CUDA_ERROR_STUB_LIBRARY)"
	case 803:
		return "its library and kernel module are of different versions: reboot, or reinstall it " +
			"(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"
	case 999:
		return "unknown error; is the kernel module loaded (lsmod | grep nvidia)?"
	}
	return fmt.Sprintf("CUDA error %d", code)
}
