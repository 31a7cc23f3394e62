// The Laplacian pyramid of an image: planes of float32, without gaps.

// A level: an image, and the next smaller one. `before` is the padding above and to the left.
struct Level {
    int size[2];
    int low[2];
    int before[2];
};

// Of the binomial kernel, whose rows and columns sum to 16.
__device__ inline float tap(int index) { return index == 2 ? 6.0f : index == 1 || index == 3 ? 4.0f : 1.0f; }

// The image at half its size, blurred.
KERNEL reverie_downsample(const float* image, float* low, Level level) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= level.low[1]) return;
    const float* plane = image + static_cast<size_t>(blockIdx.z) * level.size[0] * level.size[1];
    const int top = 2 * blockIdx.y - level.before[0], left = 2 * column - level.before[1];
    float sum = 0.0f;
    for (int i = 0; i < 5; ++i) {
        if (top + i < 0 || top + i >= level.size[0]) continue;
        const float* row = plane + static_cast<size_t>(top + i) * level.size[1];
        float across = 0.0f;
        for (int j = 0; j < 5; ++j) {
            if (left + j >= 0 && left + j < level.size[1]) across += tap(j) * row[left + j];
        }
        sum += tap(i) * across;
    }
    low[(static_cast<size_t>(blockIdx.z) * level.low[0] + blockIdx.y) * level.low[1] + column] = sum / 256.0f;
}

// What the smaller image gives at a pixel of the larger one.
__device__ inline float upsampled(const float* low, const Level& level, int column) {
    const int down = blockIdx.y + level.before[0], across = column + level.before[1];
    const float* plane = low + static_cast<size_t>(blockIdx.z) * level.low[0] * level.low[1];
    float sum = 0.0f;
    for (int i = down > 4 ? (down - 3) / 2 : 0; i <= down / 2 && i < level.low[0]; ++i) {
        float row = 0.0f;
        for (int j = across > 4 ? (across - 3) / 2 : 0; j <= across / 2 && j < level.low[1]; ++j) {
            row += tap(across - 2 * j) * plane[static_cast<size_t>(i) * level.low[1] + j];
        }
        sum += tap(down - 2 * i) * row;
    }
    return sum / 64.0f;
}

KERNEL reverie_subtract_upsampled(float* image, const float* low, Level level) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= level.size[1]) return;
    const size_t at = (static_cast<size_t>(blockIdx.z) * level.size[0] + blockIdx.y) * level.size[1] + column;
    image[at] -= upsampled(low, level, column);
}

// image / *rms + the smaller image.
KERNEL reverie_divide_and_add_upsampled(float* image, const float* low, const float* rms, Level level) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= level.size[1]) return;
    const size_t at = (static_cast<size_t>(blockIdx.z) * level.size[0] + blockIdx.y) * level.size[1] + column;
    image[at] = image[at] / *rms + upsampled(low, level, column);
}
