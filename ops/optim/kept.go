package optim

// kept lists the states that optimizers keep, and of each whether it is a mean of squares, of which an update takes the root.
var kept = map[string]bool{master: false, adamM: false, adamV: true, muonM: false, scaleM: false, apolloM: false, apolloV: true,
	apolloNorm: false, galoreP: false, galoreM: false, galoreV: true, firaNorm: false, adafactorR: true, adafactorC: true,
	adafactorM: false}

// Kept reports whether an optimizer keeps a state of this name, and whether that is never negative.
func Kept(state string) (ok, positive bool) {
	positive, ok = kept[state]
	return ok, positive
}
