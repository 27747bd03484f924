// Noise of each pixel, a hash of the image's key and the pixel's place, and rectangles that are filled.
#include <algorithm>
#include <cmath>
#include <vector>

#include "../core/hash.h"
#include "curves.h"
#include "layout.h"

using dashpot::Batch;
using dashpot::hashed;
using dashpot::written;

namespace {

constexpr int64_t CHUNK = 512;

// The natural logarithm of a positive normal number, to about one part in 10^7.
inline float logarithm(float v) {
    int32_t bits;
    std::memcpy(&bits, &v, 4);
    const int32_t exponent = (bits - 0x3f3504f3) >> 23;
    bits -= exponent * (1 << 23);
    float m;
    std::memcpy(&m, &bits, 4);
    const float t = (m - 1.0f) / (m + 1.0f), s = t * t;
    const float series = 1.0f + s * (0.333333333f + s * (0.2f + s * (0.142857143f + s * 0.111111111f)));
    return (float)exponent * 0.693147181f + 2.0f * t * series;
}

// The standard normal number at a hash, by the inverse of the error function (Giles, "Approximating the erfinv
// function", GPU Computing Gems 2, 2010).
inline float normal(uint32_t h) {
    const float x = (float)((int32_t)((h >> 8) * 2 + 1) - (1 << 24)) * 0x1p-24f;  // exact, and never -1 or 1
    const float w = -logarithm((1.0f - x) * (1.0f + x));
    const float a = w - 2.5f, b = std::sqrt(w) - 3.0f;
    float p = 2.81022636e-08f;
    p = 3.43273939e-07f + p * a;
    p = -3.5233877e-06f + p * a;
    p = -4.39150654e-06f + p * a;
    p = 0.00021858087f + p * a;
    p = -0.00125372503f + p * a;
    p = -0.00417768164f + p * a;
    p = 0.246640727f + p * a;
    p = 1.50140941f + p * a;
    float q = -0.000200214257f;
    q = 0.000100950558f + q * b;
    q = 0.00134934322f + q * b;
    q = -0.00367342844f + q * b;
    q = 0.00573950773f + q * b;
    q = -0.0076224613f + q * b;
    q = 0.00943887047f + q * b;
    q = 1.00167406f + q * b;
    q = 2.83297682f + q * b;
    return 1.41421356f * x * (w < 5.0f ? p : q);
}

template <class In, class Out>
void gaussian(const In *x, Out *out, const Batch &at, float std, uint64_t key) {
    if (std == 0.0f) return dashpot::copied(x, out, at.size());
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    const float by = std * dashpot::top<Out>, a = dashpot::scale<In, Out>;
    const int64_t n = at.pixels(), s = at.step(), c = at.channels;
    float z[CHUNK];
    for (int64_t from = 0; from < n; from += CHUNK)
        for (int64_t k = 0; k < c; ++k) {
            const int64_t m = std::min(CHUNK, n - from), start = k * at.plane() + from * s;
            const uint32_t first = (uint32_t)(k * n + from);
#pragma omp simd
            for (int32_t i = 0; i < (int32_t)m; ++i) z[i] = by * normal(hashed(first + (uint32_t)i, low, high));
            const In *p = x + start;
            Out *to = out + start;
            if (s == 1)
#pragma omp simd
                for (int64_t i = 0; i < m; ++i) to[i] = written<Out>(a * (float)p[i] + z[i]);
            else
                for (int64_t i = 0; i < m; ++i) to[i * s] = written<Out>(a * (float)p[i * s] + z[i]);
        }
}

// A pixel, with all its channels, becomes 0 where its number is below half of amount, 1 where it is below amount.
template <class In, class Out>
void salted(const In *x, Out *out, const Batch &at, float amount, uint64_t key) {
    dashpot::copied(x, out, at.size());
    if (amount <= 0.0f) return;
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    const Out most = std::is_same_v<Out, uint8_t> ? Out(255) : Out(1);
    const int64_t n = at.pixels(), s = at.step(), c = at.channels;
    const float half = amount * 0.5f;
    Out value[CHUNK];
    uint8_t hit[CHUNK];
    for (int64_t from = 0; from < n; from += CHUNK) {
        const int64_t m = std::min(CHUNK, n - from);
#pragma omp simd
        for (int32_t i = 0; i < (int32_t)m; ++i) {
            const float u = dashpot::uniform((uint32_t)from + (uint32_t)i, low, high);
            hit[i] = u < amount;
            value[i] = u < half ? Out(0) : most;
        }
        for (int64_t k = 0; k < c; ++k) {
            Out *to = out + k * at.plane() + from * s;
            for (int64_t i = 0; i < m; ++i) to[i * s] = hit[i] ? value[i] : to[i * s];
        }
    }
}

enum Fill : int64_t { ZERO, MEAN, NOISE };

// Fill the pixels whose row and column are both marked.
template <class In, class Out>
void erased(const In *x, Out *out, const Batch &at, const uint8_t *rows, const uint8_t *columns, int64_t kind,
    uint64_t key) {
    const int64_t n = at.pixels(), s = at.step(), c = at.channels, width = at.width;
    std::vector<double> value(c, 0.0);
    const bool any = std::find(rows, rows + at.height, 1) != rows + at.height;
    if (any && kind == MEAN) dashpot::means(x, at, value.data());
    dashpot::copied(x, out, at.size());
    if (!any) return;
    const uint32_t low = (uint32_t)key, high = (uint32_t)(key >> 32);
    for (int64_t begin = 0, end; begin < width; begin = end) {
        while (begin < width && !columns[begin]) ++begin;
        for (end = begin; end < width && columns[end];) ++end;
        for (int64_t k = 0; k < c && begin < end; ++k) {
            const Out one = written<Out>((float)value[k] * dashpot::top<Out>);
            for (int64_t y = 0; y < at.height; ++y) {
                if (!rows[y]) continue;
                Out *to = out + k * at.plane() + y * width * s;
                if (kind == NOISE)
                    for (int64_t i = begin; i < end; ++i)
                        to[i * s] = written<Out>(
                            dashpot::uniform((uint32_t)(k * n + y * width + i), low, high) * dashpot::top<Out>);
                else
                    for (int64_t i = begin; i < end; ++i) to[i * s] = one;
            }
        }
    }
}

}  // namespace

extern "C" void dashpot_gaussian_noise(int threads, int types, int64_t images, int64_t channels, int64_t height,
    int64_t width, int64_t last, const void *x, const float *std, const uint64_t *keys, void *out) {
    const Batch at{images, channels, height, width, last};
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, images,
            [&](int64_t i) { gaussian(from + i * at.size(), to + i * at.size(), at, std[i], keys[i]); });
    });
}

extern "C" void dashpot_salt_and_pepper(int threads, int types, int64_t images, int64_t channels, int64_t height,
    int64_t width, int64_t last, const void *x, const float *amount, const uint64_t *keys, void *out) {
    const Batch at{images, channels, height, width, last};
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, images,
            [&](int64_t i) { salted(from + i * at.size(), to + i * at.size(), at, amount[i], keys[i]); });
    });
}

// rows [image, height] and columns [image, width] of zeros and ones.
extern "C" void dashpot_erase(int threads, int types, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const void *x, const uint8_t *rows, const uint8_t *columns, int64_t kind, const uint64_t *keys,
    void *out) {
    const Batch at{images, channels, height, width, last};
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, images, [&](int64_t i) {
            erased(from + i * at.size(), to + i * at.size(), at, rows + i * height, columns + i * width, kind,
                keys[i]);
        });
    });
}
