package train

import (
	"context"
	"errors"
	"testing"

	"stepflow/gpu"
	"stepflow/runtime/observe"
)

// stopped is a program that does nothing but be stopped.
type stopped struct{ gpu.Loaded }

func (stopped) Stop() {}

// TestCut: where ctx ends the device is stopped, and nothing may be run on it, also where f had just ended.
func TestCut(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		cancel    bool
		err, want error
	}{
		"ends":                         {},
		"fails":                        {err: broken, want: broken},
		"is stopped":                   {cancel: true, err: gpu.ErrStopped, want: observe.ErrInterrupted},
		"ends as ctx does":             {cancel: true, want: observe.ErrInterrupted},
		"fails, and then ctx ends":     {cancel: true, err: broken, want: broken},
		"is stopped by another's hand": {err: gpu.ErrStopped, want: observe.ErrInterrupted},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		x := trainer{loaded: stopped{}}
		err := x.cut(ctx, func() error {
			if c.cancel {
				cancel()
			}
			return c.err
		})
		cancel()
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
