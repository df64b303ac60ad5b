package program

import (
	"stepflow/gpu"
	"stepflow/ops"
	"stepflow/ops/peft"
)

// FrozenProjection reports whether a parameter is a frozen projection of a layer, which FrozenDType is about.
func (s *Stage) FrozenProjection(p ops.Param) bool {
	return s.Frozen[p.ID] && p.Kind == ops.KindLinear && ops.InLayers(p)
}

// Stored is the type in which a parameter lies on the device: the stage's, or FrozenDType of a frozen projection.
func (s *Stage) Stored(p ops.Param) gpu.DType {
	if s.FrozenDType != gpu.InvalidDType && s.FrozenProjection(p) {
		return s.FrozenDType
	}
	return s.DType
}

// Narrow reports whether a parameter is stored in fewer bits than the stage computes in.
func (s *Stage) Narrow(p ops.Param) bool { return s.Stored(p) != s.DType }

// AllNarrow lists the parameters that are stored in fewer bits.
func (s *Stage) AllNarrow() (list []ops.Param) {
	for _, p := range s.Params {
		if s.Narrow(p) {
			list = append(list, p)
		}
	}
	return list
}

// StoredBytes is what a parameter takes on the device, without padding.
func (s *Stage) StoredBytes(p ops.Param) int64 {
	return gpu.Type{Shape: p.Shape, DType: s.Stored(p)}.Bytes()
}

// merges reports whether the device merges adapters.
func (s *Stage) merges() bool { return len(s.mergedInPlace()) > 0 && !s.KeepApart }

// mergedInPlace lists the adapters whose weights can take their product where they lie.
func (s *Stage) mergedInPlace() []peft.Adapter { return s.adaptersOf(false) }

// MergedApart lists the other adapters. They are merged when the result is written, which has the weights in the stage's
// type.
func (s *Stage) MergedApart() []peft.Adapter { return s.adaptersOf(true) }

func (s *Stage) adaptersOf(narrow bool) (list []peft.Adapter) {
	for _, a := range s.Adapters {
		if !s.Composed[a.Target.ID] && s.Narrow(a.Target) == narrow {
			list = append(list, a)
		}
	}
	return list
}

// BufStored names what a checkpoint holds of a parameter beside its values: how they are stored, which values alone do not
// tell.
func BufStored(id string) string { return "stored/" + id }

// BufFirst names what a checkpoint holds of an adapter's first values, where these were taken out of its weight.
func BufFirst(id string) string { return "first/" + id }
