// The kernels for the processor, one thread after the other: for tests, which have no card.

#include <cmath>
#include <cstddef>
#include <cstring>
#include <utility>

namespace {

struct Index {
    unsigned x, y, z;
};

// What CUDA tells a kernel of where it is.
thread_local Index blockIdx, blockDim, threadIdx;

float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

#define __device__
#define KERNEL inline void
#include "values.cu"
#include "window.cu"

namespace of_float {
using T = float;
#include "host_kind.inc"
#include "pyramid.cu"
}  // namespace of_float

namespace of_bfloat16 {
using T = Bf16;
#include "host_kind.inc"
}  // namespace of_bfloat16

// Calls a kernel for every thread of a grid. `arguments` are the addresses of its arguments, as CUDA has them.
template <class... A, std::size_t... I>
void run(void (*kernel)(A...), const unsigned* grid, unsigned block, void** arguments, std::index_sequence<I...>) {
    blockDim = {block, 1, 1};
    for (unsigned z = 0; z < grid[2]; ++z)
        for (unsigned y = 0; y < grid[1]; ++y)
            for (unsigned x = 0; x < grid[0]; ++x)
                for (unsigned thread = 0; thread < block; ++thread) {
                    blockIdx = {x, y, z};
                    threadIdx = {thread, 0, 0};
                    kernel(*static_cast<A*>(arguments[I])...);
                }
}

template <class... A>
void run(void (*kernel)(A...), const unsigned* grid, unsigned block, void** arguments) {
    run(kernel, grid, block, arguments, std::index_sequence_for<A...>{});
}

}  // namespace

// Runs the kernel of this name; 0, or 1 if there is none.
extern "C" int reverie_host_launch(const char* name, int bfloat16, int width, const unsigned* grid, unsigned block,
                                   void** arguments) {
#define RUN(kernel, version)                                \
    if (std::strcmp(name, #kernel) == 0) {                  \
        run(version::kernel, grid, block, arguments);       \
        return 0;                                           \
    }
#define BOTH(kernel)                                        \
    if (bfloat16) RUN(kernel, of_bfloat16)                  \
    if (!bfloat16) RUN(kernel, of_float)
#define ALL(kernel)                                         \
    if (bfloat16 && width == 4) RUN(kernel, of_bfloat16::by_4) \
    if (bfloat16 && width == 1) RUN(kernel, of_bfloat16::by_1) \
    if (!bfloat16 && width == 4) RUN(kernel, of_float::by_4)   \
    if (!bfloat16 && width == 1) RUN(kernel, of_float::by_1)
    ALL(reverie_max_pool_forward)
    ALL(reverie_max_pool_backward)
    ALL(reverie_epilogue)
    BOTH(reverie_lrn_forward)
    BOTH(reverie_lrn_terms)
    BOTH(reverie_lrn_backward)
    BOTH(reverie_depthwise_forward)
    BOTH(reverie_depthwise_backward)
    if (!bfloat16) {
        RUN(reverie_downsample, of_float)
        RUN(reverie_subtract_upsampled, of_float)
        RUN(reverie_divide_and_add_upsampled, of_float)
    }
    return 1;
}
