package cpu

import "stepflow/gpu"

// clamp is a number that the host gave, or the nearest one of [0, most].
func clamp(x int32, most int) int { return max(0, min(int(x), most)) }

// bindCacheWrite copies rows to where the host says: a sequence a task, since a step writes few.
func bindCacheWrite(d *Device, l *loaded, x *gpu.Launch) func() {
	rows, cache := l.matrix(x.In[0], false), l.buffer(x.Out[0])
	slot, past, count := l.i32(x.In[2]), l.i32(x.In[3]), l.i32(x.In[4])
	n, w := x.In[0].Type.Shape[1], x.In[0].Type.Shape[2]
	slots, capacity := x.In[1].Type.Shape[0], x.In[1].Type.Shape[1]
	before := l.accumulator(x, 0, 1)
	body := &loop{body: func(_ *worker, b int) {
		p := clamp(past[b], capacity)
		to := (clamp(slot[b], slots-1)*capacity + p) * w
		for t := range min(clamp(count[b], n), capacity-p) {
			from := (b*n + t) * rows.ld
			cache.sub(to+t*w, to+(t+1)*w).copy(rows.buffer.sub(from, from+w))
		}
	}}
	return func() {
		before()
		d.pool.run(body, len(slot))
	}
}
