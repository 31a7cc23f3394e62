// What the kernels beside this file begin with.
//
// They are the operations that libtorch is slow at on a GPU: its own read and write what these need several times over, or convert
// the layout before and after. They are compiled when the program runs, by NVRTC, which comes with torch (program.rs), for
// the sizes that they are needed for; and by the compiler for C++, so that the tests run the very same lines without a card
// (host.cpp). So there are no headers here, no memory that threads share, and nothing that waits for another thread.
//
// Maps are dense `[N, H, W, C]`, of float32 or bfloat16: `T`. Sums are float32, and results are rounded once. A thread computes one
// value, or a few in a row; its neighbours compute the channels beside it. No value is summed by several threads, so a
// kernel gives the same bits each time.

#ifndef KERNEL
#define KERNEL extern "C" __global__ void
#endif

struct Bf16 {
    unsigned short bits;
};

#ifdef VALUE
using T = VALUE;
#endif

__device__ inline float load(const float* value) { return *value; }
__device__ inline float load(const Bf16* value) { return __uint_as_float(static_cast<unsigned>(value->bits) << 16); }

__device__ inline void store(float* place, float value) { *place = value; }
// To the nearest, ties to even.
__device__ inline void store(Bf16* place, float value) {
    const unsigned bits = __float_as_uint(value);
    const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    place->bits = static_cast<unsigned short>(value != value ? 0x7fc0u : rounded);
}

// So many channels are computed by one thread; what it reads and writes of them is one access.
#ifndef WIDTH
#define WIDTH 1
#endif

template <class V, int N>
struct alignas(N * sizeof(V)) Pack {
    V of[N];
};

template <int N, class V>
__device__ inline Pack<V, N> pack_at(const V* values) {
    return *reinterpret_cast<const Pack<V, N>*>(values);
}
