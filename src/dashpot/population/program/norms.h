// Batch and layer normalization of rows [n, c], forward and backward. Scale w and shift may be null; mean and 1 /
// deviation are kept for the way back.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

struct Running {
    float *mean, *variance;
    float momentum;
};

// own: by the rows' own statistics, else by the running ones, which learn from them.
void batch_norm(const float *x, float *y, int64_t n, int64_t c, const float *w, const float *shift, float eps,
    float *mean, float *inverse, float *spread,
                const Running &running, bool own, bool learn) {
    if (own) {
        std::fill(mean, mean + c, 0.0f);
        std::fill(spread, spread + c, 0.0f);
        for (int64_t i = 0; i < n; ++i)
#pragma omp simd
            for (int64_t j = 0; j < c; ++j) mean[j] += x[i * c + j];
        for (int64_t j = 0; j < c; ++j) mean[j] /= n;
        for (int64_t i = 0; i < n; ++i)
#pragma omp simd
            for (int64_t j = 0; j < c; ++j) {
                const float d = x[i * c + j] - mean[j];
                spread[j] += d * d;
            }
        for (int64_t j = 0; j < c; ++j) inverse[j] = 1.0f / std::sqrt(spread[j] / n + eps);
        if (learn)
            for (int64_t j = 0; j < c; ++j) {
                running.mean[j] = (1.0f - running.momentum) * running.mean[j] + running.momentum * mean[j];
                running.variance[j] = (1.0f - running.momentum) * running.variance[j]
                    + running.momentum * (spread[j] / (n - 1));
            }
    } else {
        for (int64_t j = 0; j < c; ++j) {
            mean[j] = running.mean[j];
            inverse[j] = 1.0f / std::sqrt(running.variance[j] + eps);
        }
    }
    for (int64_t i = 0; i < n; ++i)
#pragma omp simd
        for (int64_t j = 0; j < c; ++j) {
            const float z = (x[i * c + j] - mean[j]) * inverse[j];
            y[i * c + j] = w ? z * w[j] + (shift ? shift[j] : 0.0f) : z;
        }
}

// along, plain: room for c sums each; dx null where it is not wanted.
void batch_norm_back(const float *x, const float *g, float *dx, int64_t n, int64_t c, const float *w, float *dw,
    float *dshift, const float *mean,
                     const float *inverse, float *along, float *plain, bool add) {
    std::fill(along, along + c, 0.0f);
    std::fill(plain, plain + c, 0.0f);
    for (int64_t i = 0; i < n; ++i)
#pragma omp simd
        for (int64_t j = 0; j < c; ++j) {
            along[j] += g[i * c + j] * ((x[i * c + j] - mean[j]) * inverse[j]);
            plain[j] += g[i * c + j];
        }
    if (dw) std::copy(along, along + c, dw);
    if (dshift) std::copy(plain, plain + c, dshift);
    if (!dx) return;
    for (int64_t i = 0; i < n; ++i)
#pragma omp simd
        for (int64_t j = 0; j < c; ++j) {
            const float z = (x[i * c + j] - mean[j]) * inverse[j];
            const float d = (w ? w[j] : 1.0f) * inverse[j] * (g[i * c + j] - plain[j] / n - z * along[j] / n);
            dx[i * c + j] = add ? dx[i * c + j] + d : d;
        }
}

void layer_norm(const float *x, float *y, int64_t n, int64_t c, const float *w, const float *shift, float eps,
    float *means, float *inverses) {
    for (int64_t i = 0; i < n; ++i, x += c, y += c) {
        float sum = 0, spread = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < c; ++j) sum += x[j];
        const float mean = sum / c;
#pragma omp simd reduction(+ : spread)
        for (int64_t j = 0; j < c; ++j) spread += (x[j] - mean) * (x[j] - mean);
        const float inverse = 1.0f / std::sqrt(spread / c + eps);
        means[i] = mean, inverses[i] = inverse;
#pragma omp simd
        for (int64_t j = 0; j < c; ++j) y[j] = (x[j] - mean) * inverse * (w ? w[j] : 1.0f) + (shift ? shift[j] : 0.0f);
    }
}

void layer_norm_back(const float *x, const float *g, float *dx, int64_t n, int64_t c, const float *w, float *dw,
    float *dshift, const float *means,
                     const float *inverses, bool add) {
    if (dw) std::fill(dw, dw + c, 0.0f);
    if (dshift) std::fill(dshift, dshift + c, 0.0f);
    for (int64_t i = 0; i < n; ++i, x += c, g += c) {
        const float mean = means[i], inverse = inverses[i];
        float plain = 0, along = 0;
#pragma omp simd reduction(+ : plain, along)
        for (int64_t j = 0; j < c; ++j) {
            const float d = g[j] * (w ? w[j] : 1.0f);
            plain += d;
            along += d * ((x[j] - mean) * inverse);
        }
        for (int64_t j = 0; j < c; ++j) {
            const float z = (x[j] - mean) * inverse, d = g[j];
            if (dw) dw[j] += d * z;
            if (dshift) dshift[j] += d;
            if (!dx) continue;
            const float e = inverse * (d * (w ? w[j] : 1.0f) - plain / c - z * along / c);
            dx[i * c + j] = add ? dx[i * c + j] + e : e;
        }
    }
}

}  // namespace
