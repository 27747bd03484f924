// Uniform numbers by hashing (key, index), and dropout by them without a mask in memory.
// The bits are those of `_hashed` in draws.py; a test says so.
#include <algorithm>
#include <cmath>
#include <cfloat>
#include <cstdint>
#include <vector>

#include "hash.h"
#include "mixing.h"
#include "pool.h"

using dashpot::hashed;
using dashpot::uniform;

extern "C" void dashpot_uniform(const uint64_t *keys, int64_t members, int64_t n, float *out) {
    for (int64_t k = 0; k < members; ++k) {
        const uint32_t low = (uint32_t)keys[k], high = (uint32_t)(keys[k] >> 32);
        float *__restrict to = out + k * n;
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) to[i] = uniform((uint32_t)i, low, high);
    }
}

extern "C" void dashpot_dropout(const uint64_t *keys, const float *rates, const float *scales, int64_t members,
    int64_t n, const float *x, float *out) {
    for (int64_t k = 0; k < members; ++k) {
        const uint32_t low = (uint32_t)keys[k], high = (uint32_t)(keys[k] >> 32);
        const float rate = rates[k], scale = scales[k];
        const float *from = x + k * n;
        float *to = out + k * n;
        if (rate <= 0.0f) {
            if (to != from)
                for (int64_t i = 0; i < n; ++i) to[i] = from[i];
            continue;
        }
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) to[i] = from[i] * (uniform((uint32_t)i, low, high) >= rate ? scale : 0.0f);
    }
}

// `mix` in rng.py.
static uint64_t mixed(uint64_t key, int64_t value) {
    uint64_t z = (key ^ (uint64_t)value) + 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void kept_part(int64_t start, int64_t end, uint32_t low, uint32_t high, float below, float scale,
    float *__restrict out) {
#pragma omp simd
    for (int64_t i = start; i < end; ++i) out[i] = uniform((uint32_t)i, low, high) >= below ? scale : 0.0f;
}

static void drop_part(int64_t start, int64_t end, uint32_t low, uint32_t high, float below, float scale,
    const float *__restrict x, float *__restrict out) {
#pragma omp simd
    for (int64_t i = start; i < end; ++i) out[i] = x[i] * (uniform((uint32_t)i, low, high) >= below ? scale : 0.0f);
}

// What dropout multiplies with, at the step and call that the clock shows: 0, or 1 / (1 - rate).
extern "C" void dashpot_kept(
    uint64_t key, const int64_t *clock, const float *rate, int64_t n, float *out, int threads) {
    const uint64_t now = mixed(mixed(key, clock[0]), clock[1]);
    const uint32_t low = (uint32_t)now, high = (uint32_t)(now >> 32);
    const float below = *rate, scale = 1.0f / std::max(1.0f - below, FLT_MIN);
    dashpot::parallel(threads, [=](int k, int all) {
        kept_part(n * k / all, n * (k + 1) / all, low, high, below, scale, out);
    });
}

// x times that, at a step and call.
extern "C" void dashpot_drop_at(uint64_t key, int64_t step, int64_t call, float below, int64_t n, const float *x,
    float *out, int threads) {
    const uint64_t now = mixed(mixed(key, step), call);
    const uint32_t low = (uint32_t)now, high = (uint32_t)(now >> 32);
    const float scale = 1.0f / std::max(1.0f - below, FLT_MIN);
    dashpot::parallel(threads, [=](int k, int all) {
        drop_part(n * k / all, n * (k + 1) / all, low, high, below, scale, x, out);
    });
}

// The order of the hashed numbers, ties by position.
extern "C" void dashpot_permutation(const uint64_t *keys, int64_t members, int64_t n, int64_t *out) {
    std::vector<uint64_t> pairs(n);
    for (int64_t k = 0; k < members; ++k) {
        const uint32_t low = (uint32_t)keys[k], high = (uint32_t)(keys[k] >> 32);
        for (int64_t i = 0; i < n; ++i)
            pairs[i] = ((uint64_t)(hashed((uint32_t)i, low, high) >> 8) << 32) | (uint64_t)i;
        std::sort(pairs.begin(), pairs.end());
        for (int64_t i = 0; i < n; ++i) out[k * n + i] = (int64_t)(pairs[i] & 0xffffffffu);
    }
}

// Folds a counter into a key, as `mix` in rng.py.
static uint64_t folded(uint64_t key, uint64_t counter) {
    uint64_t z = (key ^ counter) + 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// Beta(a, a): see `beta_by` in draws.py, which tells the methods. Numbers of trial r are hashed at r * n + i and under
// the key's complement.
extern "C" void dashpot_beta(const uint64_t *keys, const double *shapes, int64_t members, int64_t n, float *out) {
    for (int64_t k = 0; k < members; ++k) {
        const uint32_t low = (uint32_t)keys[k], high = (uint32_t)(keys[k] >> 32);
        const double a = shapes[k];
        const double slope = a > 1 ? std::sqrt((2 * a - 2) / (2 * a * a - 2 * a)) : 0;
        const double gamma = a > 1 ? a + 1 / slope : 0;
        for (int64_t i = 0; i < n; ++i) {
            double share = 0.5;
            for (int64_t r = 0; r < 1000; ++r) {
                const uint32_t at = (uint32_t)(r * n + i);
                const double u = ((double)(hashed(at, low, high) >> 8) + 0.5) * 0x1p-24;
                const double v = ((double)(hashed(at, ~low, ~high) >> 8) + 0.5) * 0x1p-24;
                if (a <= 1) {
                    const double x = std::log(u) / a, y = std::log(v) / a, top = std::max(x, y);
                    const double sum = top + std::log(std::exp(x - top) + std::exp(y - top));
                    if (sum > 0) continue;
                    share = std::exp(x - sum);
                } else {
                    const double z = slope * std::log(u / (1 - u)), w = a * std::exp(z), t = std::log(u * u * v),
                        c = gamma * z - std::log(4.0);
                    if (c + 2 * a * std::log(2 * a / (a + w)) < t) continue;
                    share = w / (a + w);
                }
                break;
            }
            out[k * n + i] = (float)share;
        }
    }
}

// All that techniques which mix samples draw: shares of Beta(a, a), which are 1 where a sample is not chosen, the
// places of the partners, and centres of boxes where `centres` is not null. `streams`: the counters of the four.
extern "C" void dashpot_pairs(const uint64_t *keys, const double *shapes, const float *chances, const uint64_t *streams,
    int64_t members, int64_t n, float *share, int64_t *order, float *centres) {
    for (int64_t k = 0; k < members; ++k) {
        const uint64_t shares = folded(keys[k], streams[0]), chosen = folded(keys[k], streams[1]),
                       places = folded(keys[k], streams[2]), corners = folded(keys[k], streams[3]);
        dashpot_beta(&shares, shapes + k, 1, n, share + k * n);
        if (chances[k] < 1.0f)
            for (int64_t i = 0; i < n; ++i)
                if (uniform((uint32_t)i, (uint32_t)chosen, (uint32_t)(chosen >> 32)) >= chances[k])
                    share[k * n + i] = 1;
        dashpot_permutation(&places, 1, n, order + k * n);
        if (centres) dashpot_uniform(&corners, 1, 2 * n, centres + k * 2 * n);
    }
}

// Whether all of n numbers are from 0 to `count` - 1.
extern "C" int dashpot_within(const int64_t *numbers, int64_t n, int64_t count) {
    uint64_t largest = 0;
    for (int64_t i = 0; i < n; ++i) largest = std::max(largest, (uint64_t)numbers[i]);
    return largest < (uint64_t)count;
}
