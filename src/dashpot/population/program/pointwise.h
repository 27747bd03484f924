// Activations, their derivatives, and dropout, element by element.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "../../core/hash.h"

namespace {

enum Shape : int32_t { NONE, RELU, SILU, SELU, MISH, TANH };

// Of at most 2 ulp between -87 and 88, where it is cut off.
inline float exponential(float x) {
    x = std::min(std::max(x, -87.0f), 88.0f);
    const float n = std::nearbyint(x * 1.44269504089f);
    const float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, x));
    float p = 1.9875691500e-4f;
    p = std::fma(p, r, 1.3981999507e-3f);
    p = std::fma(p, r, 8.3334519073e-3f);
    p = std::fma(p, r, 4.1665795894e-2f);
    p = std::fma(p, r, 1.6666665459e-1f);
    p = std::fma(p, r, 5.0000001201e-1f);
    p = std::fma(p, r * r, r + 1.0f);
    const int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    std::memcpy(&power, &bits, 4);
    return p * power;
}

inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
constexpr float SELU_A = 1.6732632423543772848170429916717f, SELU_S = 1.0507009873554804934193349852946f;

// tanh(softplus(x)) without a logarithm: with e = exp(x) it is (e^2 + 2e) / (e^2 + 2e + 2).
inline float soft_tanh(float x) {
    const float e = exponential(std::min(x, 20.0f)), q = e * (e + 2.0f);
    return q / (q + 2.0f);
}

inline float tangent(float x) {
    const float e = exponential(-2.0f * std::fabs(x));
    const float t = std::fabs(x) < 0.04f ? std::fabs(x) * (1.0f - x * x * (1.0f / 3.0f - x * x * (2.0f / 15.0f)))
        : (1.0f - e) / (1.0f + e);
    return std::copysign(t, x);
}

template <int A>
inline float activated(float x) {
    if (A == RELU) return x > 0.0f ? x : (x != x ? x : 0.0f);
    if (A == SILU) return x * sigmoid(x);
    if (A == SELU) return SELU_S * (x > 0.0f ? x : SELU_A * (exponential(x) - 1.0f));
    if (A == MISH) return x * soft_tanh(x);
    if (A == TANH) return tangent(x);
    return x;
}

template <int A>
inline float slope(float x) {
    if (A == RELU) return x > 0.0f ? 1.0f : 0.0f;
    if (A == SILU) {
        const float s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    }
    if (A == SELU) return SELU_S * (x > 0.0f ? 1.0f : SELU_A * exponential(x));
    if (A == MISH) {
        const float t = soft_tanh(x);
        return t + x * sigmoid(x) * (1.0f - t * t);
    }
    if (A == TANH) {
        const float t = tangent(x);
        return 1.0f - t * t;
    }
    return 1.0f;
}

struct Mask {
    uint32_t low, high;
    float rate, scale;
    float operator()(int64_t i) const { return dashpot::uniform((uint32_t)i, low, high) >= rate ? scale : 0.0f; }
};

template <int A>
void activate(const float *x, float *y, int64_t n, const Mask *mask) {
    if (mask) {
        const Mask m = *mask;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = activated<A>(x[i]) * m(i);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] = activated<A>(x[i]);
    }
}

template <int A>
void retract(const float *x, const float *g, float *dx, int64_t n, const Mask *mask, bool add) {
    const Mask m = mask ? *mask : Mask{};
    const bool drop = mask != nullptr;
    if (add) {
        for (int64_t i = 0; i < n; ++i) dx[i] += g[i] * slope<A>(x[i]) * (drop ? m(i) : 1.0f);
    } else if (drop) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) dx[i] = g[i] * slope<A>(x[i]) * m(i);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) dx[i] = g[i] * slope<A>(x[i]);
    }
}

// After ReLU the output tells what was dropped or negative.
void retract_relu(const float *y, const float *g, float *dx, int64_t n, float scale) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = y[i] > 0.0f ? g[i] * scale : 0.0f;
}

}  // namespace
