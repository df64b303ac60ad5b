package fineweb

import "fmt"

// compared is the text of a document in which n-grams are looked for: of a conversation, what is said in it. ok is false
// where it cannot be read and is passed over; it is counted where it would be used.
func (c *Corpus) compared(d *document) (text string, ok bool, err error) {
	if c.source.Said == nil {
		return d.text, true, nil
	}
	text, err = c.source.Said(c.source.Form, d.text)
	switch {
	case err == nil:
		return text, true, nil
	case c.source.SkipErrors:
		return "", false, nil
	}
	return "", false, fmt.Errorf(passOver, err)
}
