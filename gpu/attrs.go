package gpu

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// encodedAtZero lists the attributes that a program's hash has whatever they are. All others are left out at zero, so
// that the hash of a program stays what it is when a kernel gets an attribute that it does not use. No field joins the
// list.
var encodedAtZero = []string{"TransA", "TransB", "Alpha", "Eps", "Heads", "KVHeads", "Inverse", "Rows",
	"Chunk", "Frozen", "MaxNorm", "Beta1", "Beta2", "WeightDecay", "DType"}

// encodedAttrs is Attrs with the tags of its encoding.
var encodedAttrs = func() reflect.Type {
	fields := reflect.VisibleFields(reflect.TypeFor[Attrs]())
	for i := range fields {
		if fields[i].Tag = ""; !slices.Contains(encodedAtZero, fields[i].Name) {
			fields[i].Tag = `json:",omitempty"`
		}
	}
	return reflect.StructOf(fields)
}()

// MarshalJSON encodes the attributes for the hash of a program.
func (a Attrs) MarshalJSON() ([]byte, error) {
	return json.Marshal(reflect.ValueOf(a).Convert(encodedAttrs).Interface())
}

// onlyReads makes Infer refuse attributes that the kernel's row does not name: they would change the hash of a program,
// and nothing else.
func (k *Kernel) onlyReads() {
	var unread []reflect.StructField
	fields := reflect.VisibleFields(reflect.TypeFor[Attrs]())
	for _, f := range fields {
		if !slices.Contains(k.Attrs, f.Name) {
			unread = append(unread, f)
		}
	}
	if len(unread)+len(k.Attrs) != len(fields) {
		panic(fmt.Sprintf("gpu: kernel %s names attributes that are not there, or twice: %v", k.Name, k.Attrs))
	}
	infer := k.Infer
	k.Infer = func(a Attrs, in []Type) ([]Type, error) {
		if a != (Attrs{}) {
			v := reflect.ValueOf(a)
			for _, f := range unread {
				if x := v.FieldByIndex(f.Index); !x.IsZero() {
					return nil, fmt.Errorf("the kernel does not read the attribute %s, which is %v", f.Name, x)
				}
			}
		}
		return infer(a, in)
	}
}
