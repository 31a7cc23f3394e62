// Local response normalisation (Krizhevsky et al. 2012), as TensorFlow has it, and its backward pass.

// y = x · p with p = s^−beta and s = bias + alpha · Σ x² over the channels within `radius`.
struct Lrn {
    int channels;
    int radius;
    float bias;
    float alpha;
    float beta;
    // Whether the backward pass includes that of a ReLU whose output the input is.
    int through_relu;
};

struct Neighbours {
    int first;
    int last;
};

// The channels that are summed up for the value at `place` of a map, as distances from it.
__device__ inline Neighbours neighbours(const Lrn& lrn, unsigned place) {
    const int channel = static_cast<int>(place % lrn.channels);
    const int after = lrn.channels - 1 - channel;
    return {-(channel < lrn.radius ? channel : lrn.radius), after < lrn.radius ? after : lrn.radius};
}

struct Divisor {
    float power;
    float inverse;
};

// p and 1 / s. Roots are faster than powers; these exponents are the published networks'.
__device__ inline Divisor divisor(const Lrn& lrn, const T* x, Neighbours near) {
    float squares = 0.0f;
    for (int i = near.first; i <= near.last; ++i) {
        const float value = load(x + i);
        squares += value * value;
    }
    const float s = lrn.bias + lrn.alpha * squares;
    const float inverse = 1.0f / s;
    if (lrn.beta == 0.5f) return {sqrtf(inverse), inverse};
    if (lrn.beta == 0.75f) {
        const float root = sqrtf(inverse);
        return {root * sqrtf(root), inverse};
    }
    return {powf(s, -lrn.beta), inverse};
}

KERNEL reverie_lrn_forward(const T* x, T* y, Lrn lrn, unsigned count) {
    const unsigned place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= count) return;
    store(y + place, load(x + place) * divisor(lrn, x + place, neighbours(lrn, place)).power);
}

// What a channel's neighbours need of it: g x p / s.
KERNEL reverie_lrn_terms(const T* x, const T* gradient, float* terms, Lrn lrn, unsigned count) {
    const unsigned place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= count) return;
    const Divisor of = divisor(lrn, x + place, neighbours(lrn, place));
    terms[place] = load(gradient + place) * load(x + place) * of.power * of.inverse;
}

// ∂/∂x_i = g_i p_i − 2 alpha beta x_i Σ_j g_j x_j p_j / s_j.
KERNEL reverie_lrn_backward(const T* x, const T* gradient, const float* terms, T* back, Lrn lrn, unsigned count) {
    const unsigned place = blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= count) return;
    const Neighbours near = neighbours(lrn, place);
    float through = 0.0f;
    for (int i = near.first; i <= near.last; ++i) through += *(terms + place + i);
    const float value = load(x + place);
    const float direct = load(gradient + place) * divisor(lrn, x + place, near).power;
    const float sum = direct - 2.0f * lrn.alpha * lrn.beta * value * through;
    store(back + place, lrn.through_relu && value <= 0.0f ? 0.0f : sum);
}
