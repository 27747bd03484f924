// Losses of rows z [n, c] and their gradients. After pointwise.h, which has the exponential.
#include <algorithm>
#include <cmath>
#include <cstdint>

namespace {

// The mean loss, and its gradient in g: cross entropy with class probabilities `soft` [n, c] or classes `hard` [n], or
// squared error from `soft`. `shares` [n], which sum to 1, weigh the samples; null: all the same.
float mean_loss(const float *z, float *g, int64_t n, int64_t c, const float *soft, const int64_t *hard,
                const float *shares, bool squares) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i, z += c, g += c, soft = soft ? soft + c : nullptr) {
        const float share = shares ? shares[i] : 1.0f / (float)n;
        const double counts = shares ? (double)share * n : 1.0;  // the total is divided by n at last
        if (squares) {
            double square = 0;
            for (int64_t j = 0; j < c; ++j) {
                const float d = z[j] - soft[j];
                square += d * d;
                g[j] = 2.0f * d * share / (float)c;
            }
            total += counts * (square / c);
            continue;
        }
        float top = z[0], sum = 0;
        bool lost = false;
        for (int64_t j = 0; j < c; ++j) top = std::max(top, z[j]), lost = lost || z[j] != z[j];
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < c; ++j) sum += g[j] = exponential(z[j] - top);
        const float log = top + std::log(sum);
        if (soft) {
            float mass = 0, against = 0;
            for (int64_t j = 0; j < c; ++j) mass += soft[j], against += soft[j] * (log - z[j]);
            for (int64_t j = 0; j < c; ++j) g[j] = (g[j] / sum * mass - soft[j]) * share;
            total += counts * against;
        } else {
            const int64_t y = hard[i];
            for (int64_t j = 0; j < c; ++j) g[j] = g[j] / sum * share;
            g[y] -= share;
            total += counts * (log - z[y]);
        }
        if (lost) total = NAN;
    }
    return (float)(total / n);
}

}  // namespace
