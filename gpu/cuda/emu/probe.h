// Kernels that the emulator is tested with.

// y[i] = x[threads - 1 - i] for a block of threads, through shared memory filled by an asynchronous copy. Without the wait, or
// without the barrier after it, a card may give anything.
DEVICE void probe_copy(float *y, const float *x, int wait, int barrier) {
  SHARED(room);
  float *held = (float *)room;
  copy_async<4>(held + threadIdx.x, x + threadIdx.x);
  copies_commit();
  if (wait) copies_wait<0>();
  if (barrier) __syncthreads();
  y[threadIdx.x] = held[blockDim.x - 1 - threadIdx.x];
}
EXPORT(probe_copy_f32, (float *y, const float *x, int wait, int barrier), probe_copy(y, x, wait, barrier))
