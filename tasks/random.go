package tasks

import (
	"math"
	"math/bits"
)

// Random is Python's random.Random: the Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded and used as
// CPython does, so that the same examples are drawn.
type Random struct {
	state [stateWords]uint32
	index int
}

// NewRandom is random.Random(seed) of a whole number.
func NewRandom(seed uint64) *Random {
	key := []uint32{uint32(seed)}
	if high := uint32(seed >> 32); high != 0 {
		key = append(key, high)
	}
	r := &Random{index: stateWords}
	s := &r.state
	s[0] = 19650218
	for i := 1; i < len(s); i++ {
		s[i] = 1812433253*(s[i-1]^s[i-1]>>30) + uint32(i)
	}
	i, j := 1, 0
	for range max(len(s), len(key)) {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1664525) + key[j] + uint32(j)
		if i++; i == len(s) {
			s[0], i = s[len(s)-1], 1
		}
		if j++; j == len(key) {
			j = 0
		}
	}
	for range len(s) - 1 {
		s[i] = (s[i] ^ (s[i-1]^s[i-1]>>30)*1566083941) - uint32(i)
		if i++; i == len(s) {
			s[0], i = s[len(s)-1], 1
		}
	}
	s[0] = 0x80000000
	return r
}

// stateWords is the length of the state.
const stateWords = 624

func (r *Random) next() uint32 {
	s := &r.state
	if r.index == len(s) {
		for i := range s {
			y := s[i]&0x80000000 | s[(i+1)%len(s)]&0x7fffffff
			s[i] = s[(i+397)%len(s)] ^ y>>1 ^ (y&1)*0x9908b0df
		}
		r.index = 0
	}
	y := s[r.index]
	r.index++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Float is random(): a number of 53 bits in [0, 1).
func (r *Random) Float() float64 {
	a, b := r.next()>>5, r.next()>>6
	return (float64(a)*67108864 + float64(b)) / 9007199254740992
}

// below is _randbelow: a number below n, which has less than 32 bits.
func (r *Random) below(n int) int {
	unused := 32 - bits.Len(uint(n))
	for {
		if x := int(r.next() >> unused); x < n {
			return x
		}
	}
}

// Sample is random.sample(range(n), k): k different numbers below n. It is nil where there are fewer.
func (r *Random) Sample(n, k int) []int {
	if k > n {
		return nil
	}
	list := make([]int, k)
	size := 21 // as CPython chooses between a list and a set
	if k > 5 {
		size += int(math.Pow(4, math.Ceil(math.Log(float64(k)*3)/math.Log(4))))
	}
	if n <= size {
		pool := make([]int, n)
		for i := range pool {
			pool[i] = i
		}
		for i := range list {
			j := r.below(n - i)
			list[i], pool[j] = pool[j], pool[n-i-1]
		}
		return list
	}
	chosen := map[int]bool{}
	for i := range list {
		j := r.below(n)
		for chosen[j] {
			j = r.below(n)
		}
		chosen[j] = true
		list[i] = j
	}
	return list
}
