// What follows a convolution: min(max(y + bias, low), high), where y lies; there may be no bias.

KERNEL reverie_epilogue(T* y, const T* bias, int channels, float low, float high, unsigned packs) {
    const unsigned place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= packs) return;
    auto* own = reinterpret_cast<Pack<T, WIDTH>*>(y) + place;
    const unsigned channel = place % (channels / WIDTH) * WIDTH;
    Pack<T, WIDTH> values = *own;
    for (int n = 0; n < WIDTH; ++n) {
        const float value = load(values.of + n) + (bias ? load(bias + channel + n) : 0.0f);
        // What is no number stays none.
        store(values.of + n, value < low ? low : value > high ? high : value);
    }
    *own = values;
}
