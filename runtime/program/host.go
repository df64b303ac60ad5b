package program

// Phase is a part of what a block does, with the memory of the host that it takes beside what the process always does.
type Phase struct {
	Doing string `json:"doing"` // such as growing
	// Heap is what is alive at a time of memory that is allocated again and again, as for one tensor after the other.
	Heap int64 `json:"heap_bytes,omitempty"`
	// Held is what is allocated once.
	Held int64 `json:"held_bytes,omitempty"`
	// Arena is what has been used of the device's memory by then, which is the host's on the CPU.
	Arena int64 `json:"arena_bytes,omitempty"`
}

// Host returns the bytes of the host's memory that the phase takes at most. shared says that the device's is the same.
func (p Phase) Host(shared bool) int64 {
	n := p.Heap + p.Held + p.Garbage()
	if shared {
		n += p.Arena
	}
	return n
}

// Garbage returns how much may lie beside what is alive until Go's collector runs: as much again, of all that is alive, where
// memory is allocated again and again.
func (p Phase) Garbage() int64 {
	if p.Heap == 0 {
		return 0
	}
	return p.Heap + p.Held
}
