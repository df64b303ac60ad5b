package fineweb

// Overlap counts the documents of which an n-gram was found.
type Overlap struct {
	Checked int64 // documents that have n-grams
	Dirty   int64 // of these, those of which one was found
	Grams   int64 // of the documents, each as often as it stands there
	Found   int64 // of these
}

// Contamination is what a check found.
type Contamination struct {
	Documents     int64 // that were looked at
	Partial       bool  // there are more, which have too many n-grams to be looked for
	Words, Tokens Overlap
	First         []Leak // of the documents of which n-grams of words were found, the first ones
}

// Leak is a document that is measured, and where the first of its n-grams stands that was found.
type Leak struct {
	Measured, Trained string
	Grams, Found      int
}

// mostLeaks is how many documents are named.
const mostLeaks = 3

// Result counts what was found so far.
func (k *Check) Result() *Contamination {
	return k.ResultOf(func(int) bool { return true })
}

// ResultOf counts what was found so far of some documents, by their number in the order in which they were added.
func (k *Check) ResultOf(counts func(document int) bool) *Contamination {
	c := &Contamination{Partial: k.full()}
	for i, o := range k.kinds() {
		of := &c.Words
		if i == 1 {
			of = &c.Tokens
		}
		for d := range k.measured {
			if !counts(d) {
				continue
			}
			if i == 0 {
				c.Documents++
			}
			grams, found, first := o.document(d)
			if of.Grams, of.Found = of.Grams+int64(grams), of.Found+int64(found); grams > 0 {
				of.Checked++
			}
			if found == 0 {
				continue
			}
			if of.Dirty++; i == 0 && len(c.First) < mostLeaks {
				c.First = append(c.First, Leak{k.measured[d].String(), k.sighted(first - 1), grams, found})
			}
		}
	}
	return c
}

// Document is how many n-grams of words a document has, and how many of them were found.
func (k *Check) Document(number int) (grams, found int) {
	grams, found, _ = k.words.document(number)
	return grams, found
}

// document is how many n-grams a document has, how many of them were found, and the first sighting, 0 for none.
func (o *overlap) document(number int) (grams, found int, first uint64) {
	list := o.index.Document(number)
	for _, g := range list {
		if o.first == nil {
			break
		}
		if at := o.first[g].Load(); at > 0 {
			if found++; first == 0 || at < first {
				first = at
			}
		}
	}
	return len(list), found, first
}

// sighted says where a sighting is.
func (k *Check) sighted(at uint64) string {
	c := k.trained[at>>setShift].corpora[at>>sourceShift&0xff]
	row := int64(at & (1<<sourceShift - 1))
	if c.tokens != nil {
		return spot{corpus: c, at: row}.String()
	}
	p, i := c.newRowBases().at(row)
	return spot{c, p, i, 0}.String()
}

// Share is the part of the documents of which an n-gram was found; NaN where none has n-grams.
func (o Overlap) Share() float64 { return float64(o.Dirty) / float64(o.Checked) }

// GramShare is the part of the n-grams that were found.
func (o Overlap) GramShare() float64 { return float64(o.Found) / float64(o.Grams) }
