package tokenizer

import "slices"

// dictionary finds the tokens that a text begins with. It keeps them sorted and narrows their range down byte by byte,
// so that it takes no memory beyond the tokens themselves.
type dictionary struct {
	keys  []string
	ids   []int32
	first [257]int32 // where the keys that begin with a byte start
	most  int        // bytes of the longest
}

// newDictionary takes tokens with their ids; of equal ones the last counts. Empty ones are never found.
func newDictionary(keys []string, ids []int32) *dictionary {
	order := make([]int, 0, len(keys))
	for i, k := range keys {
		if k != "" {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if keys[a] < keys[b] {
			return -1
		}
		if keys[a] > keys[b] {
			return 1
		}
		return 0
	})
	d := &dictionary{}
	for _, i := range order {
		if n := len(d.keys); n > 0 && d.keys[n-1] == keys[i] {
			d.ids[n-1] = ids[i]
			continue
		}
		d.keys, d.ids = append(d.keys, keys[i]), append(d.ids, ids[i])
		d.most = max(d.most, len(keys[i]))
	}
	at := 0
	for b := range 256 {
		d.first[b] = int32(at)
		for at < len(d.keys) && d.keys[at][0] == byte(b) {
			at++
		}
	}
	d.first[256] = int32(at)
	return d
}

// prefixes visits the tokens that s begins with, the shortest first.
func (d *dictionary) prefixes(s string, visit func(id int32, n int)) {
	if s == "" {
		return
	}
	lo, hi := int(d.first[s[0]]), int(d.first[int(s[0])+1])
	for n := 1; lo < hi; n++ {
		if len(d.keys[lo]) == n { // of those with the same first bytes the shortest comes first
			visit(d.ids[lo], n)
			lo++
		}
		if n == len(s) || lo == hi {
			return
		}
		c := s[n]
		lo = d.bound(lo, hi, n, int(c))
		hi = d.bound(lo, hi, n, int(c)+1)
	}
}

// bound is the first of keys lo to hi, equal in their first n bytes and longer than that, whose byte n is at least c.
func (d *dictionary) bound(lo, hi, n, c int) int {
	for lo < hi {
		if m := int(uint(lo+hi) / 2); int(d.keys[m][n]) < c {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// longest is the longest token that s begins with.
func (d *dictionary) longest(s string) (id int32, n int) {
	d.prefixes(s, func(i int32, m int) { id, n = i, m })
	return id, n
}
