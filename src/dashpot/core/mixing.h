// Blends of rows, for mixing.py.
#include <algorithm>
#include <cstdint>

// Blends of the rows of each member: share * row + (1 - share) * partner, as torch.lerp has it. A share of 1 leaves a
// row as it is.
extern "C" void dashpot_mix(int64_t members, int64_t batch, int64_t width, const float *x, const int64_t *order,
    const float *share, float *out) {
    for (int64_t i = 0; i < members * batch; ++i) {
        const float *a = x + i * width, *b = x + (i / batch * batch + order[i]) * width;
        const float w = share[i], v = 1.0f - w;
        float *to = out + i * width;
        if (w < 0.5f) {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) to[j] = b[j] + w * (a[j] - b[j]);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) to[j] = a[j] - (a[j] - b[j]) * v;
        }
    }
}

// The class probabilities of such blends.
extern "C" void dashpot_mix_classes(int64_t members, int64_t batch, int64_t classes, const int64_t *y,
    const int64_t *order, const float *share, float *out) {
    std::fill(out, out + members * batch * classes, 0.0f);
    for (int64_t i = 0; i < members * batch; ++i) {
        const int64_t a = y[i], b = y[i / batch * batch + order[i]];
        out[i * classes + a] = a == b ? 1.0f : share[i];
        if (a != b) out[i * classes + b] = 1.0f - share[i];
    }
}
