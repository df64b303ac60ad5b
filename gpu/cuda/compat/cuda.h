/* gorgonia.org/cu is written for the headers of CUDA 12. Those of CUDA 13 give five of its functions new
   parameters under their old names; the driver still has the old ones, so here they are again. */
#pragma once
#include_next <cuda.h>
#if CUDA_VERSION >= 13000
#undef cuMemAdvise
#undef cuMemPrefetchAsync
#undef cuCtxCreate
#undef cuGraphAddDependencies
#undef cuGraphGetEdges
CUresult cuMemAdvise(CUdeviceptr, size_t, CUmem_advise, CUdevice);
CUresult cuMemPrefetchAsync(CUdeviceptr, size_t, CUdevice, CUstream);
CUresult cuCtxCreate_v2(CUcontext *, unsigned int, CUdevice);
#define cuCtxCreate cuCtxCreate_v2
CUresult cuGraphAddDependencies(CUgraph, const CUgraphNode *, const CUgraphNode *, size_t);
CUresult cuGraphGetEdges(CUgraph, CUgraphNode *, CUgraphNode *, size_t *);
#endif
