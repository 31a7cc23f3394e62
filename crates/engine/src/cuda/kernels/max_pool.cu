// Max-pooling with any padding, and its backward pass.

// The argmax of a window through which no gradient passes: of a maximum of zero or less, where a ReLU comes before.
#define NOWHERE 255

KERNEL reverie_max_pool_forward(const T* x, T* y, unsigned char* argmax, Window w, int through_relu) {
    const int packs = w.channels / WIDTH;
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= w.output[1] * packs) return;
    const int column = place / packs, channel = place % packs * WIDTH;
    const int top = blockIdx.y * STRIDE_ROWS - w.before[0], left = column * STRIDE_COLUMNS - w.before[1];
    const T* image = x + row_of(blockIdx.z, w.input[0], 0, w.input[1], w.channels) + channel;
    float best[WIDTH];
    Pack<unsigned char, WIDTH> at;
    for (int n = 0; n < WIDTH; ++n) {
        best[n] = __uint_as_float(0xff800000u);  // −∞
        at.of[n] = 0;
    }
    for (int i = 0; i < KERNEL_ROWS; ++i) {
        if (top + i < 0 || top + i >= w.input[0]) continue;
        for (int j = 0; j < KERNEL_COLUMNS; ++j) {
            if (left + j < 0 || left + j >= w.input[1]) continue;
            const Pack<T, WIDTH> values =
                pack_at<WIDTH>(image + (static_cast<size_t>(top + i) * w.input[1] + left + j) * w.channels);
            for (int n = 0; n < WIDTH; ++n) {
                const float value = load(values.of + n);
                // The first of equals, but the last that is no number.
                if (value > best[n] || value != value) {
                    best[n] = value;
                    at.of[n] = static_cast<unsigned char>(i * KERNEL_COLUMNS + j);
                }
            }
        }
    }
    Pack<T, WIDTH> result;
    for (int n = 0; n < WIDTH; ++n) {
        store(result.of + n, best[n]);
        if (through_relu && best[n] <= 0.0f) at.of[n] = NOWHERE;
    }
    const size_t own =
        row_of(blockIdx.z, w.output[0], blockIdx.y, w.output[1], w.channels) + column * w.channels + channel;
    *reinterpret_cast<Pack<T, WIDTH>*>(y + own) = result;
    *reinterpret_cast<Pack<unsigned char, WIDTH>*>(argmax + own) = at;
}

// The gradient of the input, added to what `back` holds with `accumulate`.
KERNEL reverie_max_pool_backward(const T* gradient, const unsigned char* argmax, T* back, Window w, int accumulate) {
    const int packs = w.channels / WIDTH;
    const int place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= w.input[1] * packs) return;
    const int column = place / packs, channel = place % packs * WIDTH;
    const int down = blockIdx.y + w.before[0], across = column + w.before[1];
    const Over rows = rows_over(w, down), columns = columns_over(w, across);
    float sums[WIDTH];
    for (int n = 0; n < WIDTH; ++n) sums[n] = 0.0f;
    for (int i = rows.first; i <= rows.last; ++i) {
        const size_t row = row_of(blockIdx.z, w.output[0], i, w.output[1], w.channels) + channel;
        for (int j = columns.first; j <= columns.last; ++j) {
            const int own = (down - i * STRIDE_ROWS) * KERNEL_COLUMNS + across - j * STRIDE_COLUMNS;
            const size_t window = row + static_cast<size_t>(j) * w.channels;
            const Pack<unsigned char, WIDTH> at = pack_at<WIDTH>(argmax + window);
            const Pack<T, WIDTH> values = pack_at<WIDTH>(gradient + window);
            for (int n = 0; n < WIDTH; ++n) {
                if (at.of[n] == own) sums[n] += load(values.of + n);
            }
        }
    }
    auto* place_of = reinterpret_cast<Pack<T, WIDTH>*>(
        back + row_of(blockIdx.z, w.input[0], blockIdx.y, w.input[1], w.channels) + column * w.channels + channel);
    Pack<T, WIDTH> result;
    if (accumulate) result = *place_of;
    for (int n = 0; n < WIDTH; ++n) {
        store(result.of + n, accumulate ? load(result.of + n) + sums[n] : sums[n]);
    }
    *place_of = result;
}
