// Depthwise convolutions, of every channel by itself, and their backward pass.

// Results in a row that share what they read.
#define SIDE 4

// min(max(weights * x + bias, low), high). `weights` are [rows of the kernel, its columns, C]; there may be no bias.
KERNEL reverie_depthwise_forward(const T* x, const float* weights, const T* bias, T* y, Window w, float low,
                                 float high) {
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    const int first = place / w.channels * SIDE, channel = place % w.channels;
    if (first >= w.output[1]) return;
    const int top = blockIdx.y * STRIDE_ROWS - w.before[0], left = first * STRIDE_COLUMNS - w.before[1];
    const T* image = x + row_of(blockIdx.z, w.input[0], 0, w.input[1], w.channels) + channel;
    const float start = bias ? load(bias + channel) : 0.0f;
    float sums[SIDE] = {start, start, start, start};
    for (int i = 0; i < KERNEL_ROWS; ++i) {
        if (top + i < 0 || top + i >= w.input[0]) continue;
        const T* row = image + static_cast<size_t>(top + i) * w.input[1] * w.channels;
        const float* taps = weights + static_cast<size_t>(i) * KERNEL_COLUMNS * w.channels + channel;
        for (int j = 0; j < KERNEL_COLUMNS + STRIDE_COLUMNS * (SIDE - 1); ++j) {
            const int column = left + j;
            if (column < 0 || column >= w.input[1]) continue;
            const float value = load(row + static_cast<size_t>(column) * w.channels);
            for (int n = 0; n < SIDE; ++n) {
                const int tap = j - n * STRIDE_COLUMNS;
                if (tap >= 0 && tap < KERNEL_COLUMNS) sums[n] += value * taps[static_cast<size_t>(tap) * w.channels];
            }
        }
    }
    T* row = y + row_of(blockIdx.z, w.output[0], blockIdx.y, w.output[1], w.channels) + channel;
    for (int n = 0; n < SIDE && first + n < w.output[1]; ++n) {
        // What is no number stays none.
        const float value = sums[n] < low ? low : sums[n] > high ? high : sums[n];
        store(row + static_cast<size_t>(first + n) * w.channels, value);
    }
}

// The gradient of the input. With `relu`, the output of a ReLU with this upper limit that the input is, that of the ReLU's
// input.
KERNEL reverie_depthwise_backward(const T* gradient, const float* weights, const T* relu, float limit, T* back,
                                  Window w) {
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    const int first = place / w.channels * SIDE, channel = place % w.channels;
    if (first >= w.input[1]) return;
    const T* image = gradient + row_of(blockIdx.z, w.output[0], 0, w.output[1], w.channels) + channel;
    const int down = blockIdx.y + w.before[0], across = first + w.before[1];
    float sums[SIDE] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int i = 0; i < KERNEL_ROWS; ++i) {
        // The window whose row `i` lies over this one.
        const int over = down - i;
        if (over < 0 || over % STRIDE_ROWS != 0 || over / STRIDE_ROWS >= w.output[0]) continue;
        const T* row = image + static_cast<size_t>(over / STRIDE_ROWS) * w.output[1] * w.channels;
        const float* taps = weights + static_cast<size_t>(i) * KERNEL_COLUMNS * w.channels + channel;
        // Windows that begin so far from the first result; where they have a tap over one, it takes part.
        for (int j = 1 - KERNEL_COLUMNS; j < SIDE; ++j) {
            const int begin = across + j;
            if (begin < 0 || begin % STRIDE_COLUMNS != 0 || begin / STRIDE_COLUMNS >= w.output[1]) continue;
            const float value = load(row + static_cast<size_t>(begin / STRIDE_COLUMNS) * w.channels);
            for (int n = 0; n < SIDE; ++n) {
                const int tap = n - j;
                if (tap >= 0 && tap < KERNEL_COLUMNS) sums[n] += value * taps[static_cast<size_t>(tap) * w.channels];
            }
        }
    }
    const size_t start = row_of(blockIdx.z, w.input[0], blockIdx.y, w.input[1], w.channels) + channel;
    for (int n = 0; n < SIDE && first + n < w.input[1]; ++n) {
        const size_t at = start + static_cast<size_t>(first + n) * w.channels;
        const float value = relu ? load(relu + at) : 1.0f;
        const bool passes = !relu || (value > 0.0f && value < limit);
        store(back + at, passes ? sums[n] : 0.0f);
    }
}
