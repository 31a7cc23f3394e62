// How windows move over a map; `[rows, columns]` throughout, as in Rust's `Window` (maps.rs).
struct Window {
    int kernel[2];
    int stride[2];
    // Positions that the first window reaches over the edge.
    int before[2];
    int input[2];
    int output[2];
    int channels;
};

__device__ inline size_t row_of(int image, int rows, int row, int columns, int channels) {
    return (static_cast<size_t>(image) * rows + row) * columns * channels;
}

// A kernel is compiled for one size of window and one stride; only the tests hand them over with each call.
#ifndef KERNEL_ROWS
#define KERNEL_ROWS w.kernel[0]
#define KERNEL_COLUMNS w.kernel[1]
#define STRIDE_ROWS w.stride[0]
#define STRIDE_COLUMNS w.stride[1]
#endif

// Those over a position of an axis: from `first` up to `last`.
struct Over {
    int first;
    int last;
};

__device__ inline Over windows_over(int reach, int kernel, int stride, int windows) {
    const int behind = reach + 1 - kernel;
    const int first = behind > 0 ? (behind + stride - 1) / stride : 0;
    const int last = reach / stride;
    return {first, last < windows ? last : windows - 1};
}

__device__ inline Over rows_over(const Window& w, int reach) {
    return windows_over(reach, KERNEL_ROWS, STRIDE_ROWS, w.output[0]);
}

__device__ inline Over columns_over(const Window& w, int reach) {
    return windows_over(reach, KERNEL_COLUMNS, STRIDE_COLUMNS, w.output[1]);
}
