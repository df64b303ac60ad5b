// The gradient of the embedding table.
#include "common.cuh"

// dw[v,:] += sum of dy[t,:] over the tokens t with id v, in fp32 and in order of t; rounded once, to the type of dw. The block
// of a token does nothing unless the token is the first of its id, so that each row has one owner and no
// atomics are needed: the same bits every run. Reading all ids costs tokens² / 2 comparisons, which
// lie in the cache: 16,384 tokens are 0.5 GiB of its traffic.
template <class A, class T> DEVICE void embedding_grad(int tokens, int cols, A *dw, const int *ids, const T *dy) {
  SHARED(room);
  int *found = (int *)room; // tokens of the id among those a round of threads looks at, in order
  int *count = found + blockDim.x, t = blockIdx.x, id = ids[t];
  int earlier = 0;
  for (int base = 0; base < t; base += blockDim.x) {
    int i = base + threadIdx.x;
    earlier = __syncthreads_or(i < t && ids[i] == id);
    if (earlier) return;
  }
  // A thread owns columns threadIdx.x, + blockDim.x ...; sums of up to 4 of them are in registers.
  A *to = dw + (int64_t)id * cols;
  for (int c0 = 0; c0 < cols; c0 += 4 * blockDim.x) {
    float s[4];
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int c = c0 + j * blockDim.x + threadIdx.x;
      s[j] = c < cols ? widen(to[c]) : 0;
    }
    for (int base = t / blockDim.x * blockDim.x; base < tokens; base += blockDim.x) {
      int i = base + threadIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
      bool mine = i >= t && i < tokens && ids[i] == id;
      uint32_t votes = __ballot_sync(FULL, mine);
      if (lane == 0) count[warp] = __popc(votes);
      __syncthreads();
      int at = 0, all = 0;
      for (int w = 0; w < (int)(blockDim.x >> 5); w++) {
        if (w < warp) at += count[w];
        all += count[w];
      }
      if (mine) found[at + __popc(votes & ((1u << lane) - 1))] = i;
      __syncthreads();
      for (int k = 0; k < all; k++) {
        const T *from = dy + (int64_t)found[k] * cols;
#pragma unroll
        for (int j = 0; j < 4; j++) {
          int c = c0 + j * blockDim.x + threadIdx.x;
          if (c < cols) s[j] += widen(from[c]);
        }
      }
      __syncthreads();
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      int c = c0 + j * blockDim.x + threadIdx.x;
      if (c < cols) to[c] = narrow<A>(s[j]);
    }
  }
}

#define EMBEDDING_GRAD(S, A, T) EXPORT(embedding_grad_##S, (int tokens, int cols, A *dw, const int *ids, const T *dy), embedding_grad(tokens, cols, dw, ids, dy))
EMBEDDING_GRAD(f32_f32, float, float)
EMBEDDING_GRAD(bf16_bf16, bf16, bf16)
EMBEDDING_GRAD(f32_bf16, float, bf16)
