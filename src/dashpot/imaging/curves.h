// Numbers of each channel of an image (means, ends, histograms), and pointwise curves that are made of them.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "layout.h"

namespace dashpot {

// out = clip(a x + b), for a run of numbers.
template <class In, class Out>
void scaled(const In *x, Out *out, int64_t n, float a, float b) {
    if constexpr (std::is_same_v<In, uint8_t> && std::is_same_v<Out, uint8_t>)
        if (a == -1.0f && b == 255.0f) {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) out[i] = (uint8_t)~x[i];
            return;
        }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] = written<Out>(a * (float)x[i] + b);
}

// The same where a pixel's channels lie side by side and differ in a and b.
template <int C, class In, class Out>
void scaled_each(const In *x, Out *out, int64_t pixels, const float *a, const float *b) {
    float as[8 * C], bs[8 * C];
    for (int i = 0; i < 8 * C; ++i) as[i] = a[i % C], bs[i] = b[i % C];
    int64_t p = 0;
    for (; p + 8 <= pixels; p += 8, x += 8 * C, out += 8 * C)
#pragma omp simd
        for (int i = 0; i < 8 * C; ++i) out[i] = written<Out>(as[i] * (float)x[i] + bs[i]);
    for (int64_t i = 0; i < (pixels - p) * C; ++i) out[i] = written<Out>(as[i] * (float)x[i] + bs[i]);
}

// The mean of each channel, in [0, 1].
template <class In>
void means(const In *x, const Batch &at, double *mean) {
    using Sum = std::conditional_t<std::is_same_v<In, uint8_t>, uint32_t, float>;
    constexpr int64_t LANES = 32;
    const int64_t c = at.channels, width = LANES * (at.last ? c : 1), run = at.last ? at.size() : at.pixels();
    std::vector<Sum> sums(width);
    for (int64_t k = 0; k < (at.last ? 1 : c); ++k, x += run) {
        std::vector<double> sum(width, 0.0);
        for (int64_t from = 0; from < run; from += 256 * width) {  // so few that neither type loses anything
            const int64_t end = std::min(from + 256 * width, run);
            std::fill(sums.begin(), sums.end(), Sum(0));
            int64_t i = from;
            Sum *to = sums.data();
            for (; i + width <= end; i += width)
#pragma omp simd
                for (int64_t j = 0; j < width; ++j) to[j] += x[i + j];
            for (int64_t j = 0; i < end; ++i, ++j) to[j] += x[i];
            for (int64_t j = 0; j < width; ++j) sum[j] += sums[j];
        }
        for (int64_t j = 0; j < (at.last ? c : 1); ++j) {
            double all = 0;
            for (int64_t i = j; i < width; i += at.last ? c : 1) all += sum[i];
            mean[k + j] = all / ((double)at.pixels() * top<In>);
        }
    }
}

// The least and the greatest value of each channel; what is not a number is passed over.
template <class In>
void ends(const In *x, const Batch &at, In *low, In *high) {
    constexpr int64_t LANES = 64;
    const int64_t c = at.channels, width = LANES * (at.last ? c : 1), run = at.last ? at.size() : at.pixels();
    std::vector<In> lows(width), highs(width);
    for (int64_t k = 0; k < (at.last ? 1 : c); ++k, x += run) {
        In *lo = lows.data(), *hi = highs.data();
        std::fill_n(lo, width, std::is_same_v<In, uint8_t> ? In(255) : In(INFINITY));
        std::fill_n(hi, width, std::is_same_v<In, uint8_t> ? In(0) : In(-INFINITY));
        int64_t i = 0;
        for (; i + width <= run; i += width)
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) {
                lo[j] = x[i + j] < lo[j] ? x[i + j] : lo[j];
                hi[j] = x[i + j] > hi[j] ? x[i + j] : hi[j];
            }
        for (int64_t j = 0; i < run; ++i, ++j) {
            lo[j] = x[i] < lo[j] ? x[i] : lo[j];
            hi[j] = x[i] > hi[j] ? x[i] : hi[j];
        }
        for (int64_t j = 0, each = at.last ? c : 1; j < each; ++j) {
            low[k + j] = lo[j], high[k + j] = hi[j];
            for (int64_t i = j; i < width; i += each) {
                low[k + j] = std::min(low[k + j], lo[i]);
                high[k + j] = std::max(high[k + j], hi[i]);
            }
        }
    }
}

// The nearest bytes of a channel; of what is not a number 0.
template <class In>
void to_bytes(const In *x, int64_t n, int64_t step, uint8_t *bytes) {
    if constexpr (std::is_same_v<In, uint8_t>) {
        for (int64_t p = 0; p < n; ++p) bytes[p] = x[p * step];
    } else {
#pragma omp simd
        for (int64_t p = 0; p < n; ++p) {
            const float v = x[p * step] > 0.0f ? x[p * step] : 0.0f;
            bytes[p] = (uint8_t)(int32_t)((v > 1.0f ? 1.0f : v) * 255.0f + 0.5f);
        }
    }
}

// How often each byte is there; eight tables by turns, since equal neighbours would wait for each other.
inline void counted(const uint8_t *x, int64_t n, int64_t *count) {
    uint32_t tables[8][256] = {};
    int64_t p = 0;
    for (; p + 8 <= n; p += 8) {
        uint64_t eight;
        std::memcpy(&eight, x + p, 8);
#pragma GCC unroll 8
        for (int k = 0; k < 8; ++k) ++tables[k][eight >> 8 * k & 255];
    }
    for (; p < n; ++p) ++tables[0][x[p]];
    for (int v = 0; v < 256; ++v) {
        count[v] = 0;
        for (const auto &table : tables) count[v] += table[v];
    }
}

// Pillow's equalization: each byte's new value, from how often each is there; false where it changes nothing. Where a
// level would have less than one pixel, Pillow gives up, and this rounds.
inline bool equalized(const int64_t *count, uint8_t *table) {
    int64_t all = 0, last = 0;
    for (int v = 0; v < 256; ++v) {
        all += count[v];
        if (count[v]) last = count[v];
    }
    const int64_t rest = all - last, each = rest / 255;
    if (!rest) return false;
    int64_t below = 0;
    for (int v = 0; v < 256; below += count[v++]) {
        const int64_t level = each ? (each / 2 + below) / each : (510 * below + rest) / (2 * rest);
        table[v] = (uint8_t)std::min<int64_t>(level, 255);
    }
    return true;
}

template <class In, class Out>
void channel_equalized(const In *x, Out *out, int64_t n, int64_t step) {
    thread_local std::vector<uint8_t> room;
    const uint8_t *bytes;
    if constexpr (std::is_same_v<In, uint8_t>) bytes = x;
    if (std::is_same_v<In, float> || step > 1) {
        room.resize(n);
        to_bytes(x, n, step, room.data());
        bytes = room.data();
    }
    int64_t count[256];
    uint8_t levels[256];
    counted(bytes, n, count);
    if (!equalized(count, levels)) {
        for (int64_t p = 0; p < n * step; p += step) {
            if constexpr (std::is_same_v<In, Out>)
                out[p] = x[p];
            else
                out[p] = (float)x[p] / 255.0f;
        }
        return;
    }
    Out table[256];
    for (int v = 0; v < 256; ++v)
        table[v] = std::is_same_v<Out, uint8_t> ? Out(levels[v]) : Out((float)levels[v] / 255.0f);
    for (int64_t p = 0; p < n; ++p) {
        if constexpr (std::is_same_v<In, float>)
            out[p * step] = x[p * step] == x[p * step] ? table[bytes[p]] : x[p * step];
        else
            out[p * step] = table[bytes[p]];
    }
}

template <class In, class Out>
void solarized(const In *x, Out *out, int64_t n, float level) {
    if constexpr (std::is_same_v<In, uint8_t>) {
        int from = 0;
        while (from < 256 && (float)from / 255.0f < level) ++from;
        if constexpr (std::is_same_v<Out, uint8_t>) {
            if (from == 256) return copied(x, out, n);
            const uint8_t first = (uint8_t)from;
#pragma omp simd
            for (int64_t p = 0; p < n; ++p) out[p] = x[p] >= first ? (uint8_t)(255 - x[p]) : x[p];
        } else {
            float table[256];
            for (int v = 0; v < 256; ++v) table[v] = (float)(v >= from ? 255 - v : v) / 255.0f;
            for (int64_t p = 0; p < n; ++p) out[p] = table[x[p]];
        }
    } else {
#pragma omp simd
        for (int64_t p = 0; p < n; ++p) out[p] = x[p] >= level ? 1.0f - x[p] : x[p];
    }
}

template <class In, class Out>
void posterized(const In *x, Out *out, int64_t n, int bits) {
    const int mask = 0xFF & (0xFF << (8 - bits));
    if constexpr (std::is_same_v<In, uint8_t>) {
#pragma omp simd
        for (int64_t p = 0; p < n; ++p) {
            const uint8_t v = x[p] & (uint8_t)mask;
            if constexpr (std::is_same_v<Out, uint8_t>)
                out[p] = v;
            else
                out[p] = (float)v / 255.0f;
        }
    } else {
#pragma omp simd
        for (int64_t p = 0; p < n; ++p) {
            const float v = clipped(x[p], 1.0f);  // of what is not a number the whole number does not matter
            const int byte = (int)(v * 255.0f + 0.5f) & mask;
            out[p] = v >= 0.0f ? (float)byte / 255.0f : x[p];
        }
    }
}

enum Curve : int64_t { NONE, SOLARIZE, POSTERIZE, EQUALIZE, AUTOCONTRAST };

// One curve on one image; `level` is the threshold in [0, 1] or the number of bits. See curves.py.
template <class In, class Out>
void curve(const In *x, Out *out, const Batch &at, int64_t kind, float level) {
    const int64_t c = at.channels, n = at.pixels();
    if (kind == SOLARIZE && level <= 1.0f) return solarized(x, out, at.size(), level);
    if (kind == POSTERIZE && level < 8.0f) return posterized(x, out, at.size(), std::max(0, (int)level));
    if (kind == EQUALIZE) {
        for (int64_t k = 0; k < c; ++k)
            channel_equalized(x + k * at.plane(), out + k * at.plane(), n, at.step());
        return;
    }
    if (kind != AUTOCONTRAST) return copied(x, out, at.size());
    std::vector<In> low(c), high(c);
    ends(x, at, low.data(), high.data());
    std::vector<float> a(c), b(c);
    for (int64_t k = 0; k < c; ++k) {
        const bool acts = high[k] > low[k];
        a[k] = (acts ? top<Out> / ((float)high[k] - (float)low[k]) : scale<In, Out>);
        b[k] = acts ? -a[k] * (float)low[k] : 0.0f;
    }
    if (at.last && c == 3) return scaled_each<3>(x, out, n, a.data(), b.data());
    for (int64_t k = 0; k < c; ++k) {
        const In *from = x + k * at.plane();
        Out *to = out + k * at.plane();
        if (!at.last)
            scaled(from, to, n, a[k], b[k]);
        else
            for (int64_t p = 0; p < n; ++p) to[p * c] = written<Out>(a[k] * (float)from[p * c] + b[k]);
    }
}

}  // namespace dashpot
