// What ranks have is added up here, not by the library that moves it: in fp32, in the order of ranks, rounded once.
#include "common.cuh"

// sum_some writes N sums, of which n are there, from element e on. What this rank has is mine; what rank r has was received
// at r times stride.
template <bool WIDE, int N, class T>
DEVICE void sum_some(int64_t e, int n, T *y, const T *mine, int rank, int ranks, const T *got, int64_t stride) {
  float s[N];
#pragma unroll 4
  for (int r = 0; r < ranks; r++) {
    Pack<T, N> x = some<WIDE, N>((r == rank ? mine : got + r * stride) + e, n);
#pragma unroll
    for (int j = 0; j < N; j++) s[j] = r ? s[j] + widen(x.v[j]) : widen(x.v[j]);
  }
  Pack<T, N> sum;
#pragma unroll
  for (int j = 0; j < N; j++) sum.v[j] = narrow<T>(s[j]);
  put_some<WIDE>(y + e, sum, n);
}

// y may be mine.
template <class T> DEVICE void sum_ranks(int64_t n, T *y, const T *mine, int rank, int ranks, const T *got, int64_t stride) {
  const int N = Pack<T>::N;
  bool wide = aligned(y) && aligned(mine) && aligned(got) && stride % N == 0;
  int64_t whole = wide ? n / N * N : 0;
  for (int64_t e = THREAD * N; e < whole; e += STRIDE * N) sum_some<true, N>(e, N, y, mine, rank, ranks, got, stride);
  for (int64_t e = whole + THREAD; e < n; e += STRIDE) sum_some<false, 1>(e, 1, y, mine, rank, ranks, got, stride);
}
#define SUM_RANKS(S, T) EXPORT(sum_ranks_##S, (int64_t n, T * y, const T *mine, int rank, int ranks, const T *got, int64_t stride), \
  sum_ranks(n, y, mine, rank, ranks, got, stride))
EACH_TYPE(SUM_RANKS)
