package optim

// kept has the states that optimizers keep, and of each whether it is a mean of squares, of which an update takes the root. Each
// optimizer's file adds its own.
var kept = map[string]bool{master: false}

// keep adds states to kept.
func keep(squares bool, states ...string) struct{} {
	for _, s := range states {
		kept[s] = squares
	}
	return struct{}{}
}

// Kept reports whether an optimizer keeps a state of this name, and whether that is never negative.
func Kept(state string) (ok, positive bool) {
	positive, ok = kept[state]
	return ok, positive
}
