// Noise of each pixel, a hash of the image's key and the pixel's place, and rectangles that are filled.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "../core/hash.h"
#include "curves.h"
#include "layout.h"
#include "streaming.h"

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

// What is filled in a row of `width` pixels: the spans of marked columns, and with what.
struct Filling {
    std::vector<std::pair<int64_t, int64_t>> spans;
    std::vector<float> value;
    int64_t kind;
    uint32_t low, high;

    // Pixel y * width + i of the channels from `channel` on, `step` of them side by side.
    template <class Out>
    void fill(Out *row, int64_t channel, int64_t step, int64_t y, const Batch &at) const {
        for (const auto &[begin, end] : spans)
            for (int64_t k = 0; k < step; ++k) {
                if (kind == NOISE) {
                    const int64_t first = (channel + k) * at.pixels() + y * at.width;
                    for (int64_t i = begin; i < end; ++i)
                        row[i * step + k] =
                            written<Out>(dashpot::uniform((uint32_t)(first + i), low, high) * dashpot::top<Out>);
                    continue;
                }
                const Out one = written<Out>(value[channel + k] * dashpot::top<Out>);
                if (step == 1)
                    std::fill(row + begin, row + end, one);
                else
                    for (int64_t i = begin; i < end; ++i) row[i * step + k] = one;
            }
    }
};

// Pixels of the same type, past the caches where `large`.
template <class In, class Out>
void moved(const In *x, Out *out, int64_t n, bool large) {
    if (large && std::is_same_v<In, Out>)
        dashpot::stream(x, out, n * sizeof(Out));
    else
        dashpot::copied(x, out, n);
}

// Fill the pixels whose row and column are both marked; each number is written once.
template <class In, class Out>
void erased(const In *x, Out *out, const Batch &at, const uint8_t *rows, const uint8_t *columns, int64_t kind,
    uint64_t key, bool large) {
    const int64_t step = at.step(), width = at.width, planes = at.last ? 1 : at.channels;
    const bool any = std::find(rows, rows + at.height, 1) != rows + at.height, here = (const void *)x == (void *)out;
    large = large && !here;
    if (!any) return moved(x, out, at.size(), large);
    std::vector<double> mean(at.channels, 0.0);
    if (kind == MEAN) dashpot::means(x, at, mean.data());
    Filling filling{{}, {mean.begin(), mean.end()}, kind, (uint32_t)key, (uint32_t)(key >> 32)};
    for (int64_t begin = 0, end; begin < width; begin = end) {
        while (begin < width && !columns[begin]) ++begin;
        for (end = begin; end < width && columns[end];) ++end;
        if (begin < end) filling.spans.emplace_back(begin, end);
    }
    std::vector<Out> line(large ? width * step : 0);
    for (int64_t k = 0; k < planes; ++k)
        for (int64_t y = 0, next; y < at.height; y = next) {
            for (next = y + 1; next < at.height && !rows[y] && !rows[next];) ++next;
            const int64_t from = (k * at.height + y) * width * step, n = (next - y) * width * step;
            if (!rows[y]) {
                moved(x + from, out + from, n, large);
                continue;
            }
            Out *row = large ? line.data() : out + from;
            dashpot::copied(x + from, row, n);
            filling.fill(row, k, step, y, at);
            if (large) dashpot::stream(row, out + from, n * sizeof(Out));
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
        const bool large = images * at.size() * (int64_t)sizeof(*to) >= dashpot::LARGE;
        dashpot::each_image(threads, images, [&](int64_t i) {
            erased(from + i * at.size(), to + i * at.size(), at, rows + i * height, columns + i * width, kind, keys[i],
                large);
            if (large) dashpot::settle();
        });
    });
}
