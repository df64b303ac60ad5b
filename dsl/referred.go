package dsl

// Referred returns the block that an attribute names, as it is configured; nil if it names none, or if that is not known yet
// or wrong, which is an error of that block.
func (d *Decoded) Referred(attr string) *Decoded {
	a, _, ok := d.Ref(attr)
	if !ok || d.scope == nil {
		return nil
	}
	b := d.scope.config.Block(a)
	if b == nil {
		return nil
	}
	instances, diags := d.scope.instances(b)
	if diags.HasErrors() {
		return nil
	}
	for i := range instances {
		if instances[i].Key == a.Key {
			if x, diags := d.scope.Decode(b, &instances[i]); !diags.HasErrors() {
				return x
			}
		}
	}
	return nil
}
