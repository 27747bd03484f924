// Several floats at a time, with the division and the square root of the processor: while it is busy with them it does
// the rest. A single float is the tail of a loop.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

namespace dashpot {

constexpr float TINY = 1.17549435e-38f, BIG = 1e19f;

#if defined(__AVX2__) && defined(__FMA__)
typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t Bits __attribute__((vector_size(32)));
#else
typedef float Lanes __attribute__((vector_size(16)));
typedef int32_t Bits __attribute__((vector_size(16)));
#endif
constexpr int64_t LANES = sizeof(Lanes) / sizeof(float);

template <class T>
inline T load(const float *from) {
    T x;
    std::memcpy(&x, from, sizeof x);
    return x;
}

template <class T>
inline void store(float *to, T x) { std::memcpy(to, &x, sizeof x); }

// Asks memory for what is wanted soon: processors foresee less, and stop at the end of a page. The address may be
// outside of the array: nothing is read.
inline void soon(const float *from) { __builtin_prefetch(from); }

inline float at_least(float x, float bottom) { return x < bottom ? bottom : x; }  // NaN stays NaN, here and below
inline float at_most(float x, float top) { return x > top ? top : x; }
inline float inverse(float x) { return 1.0f / x; }
inline float root(float x) { return std::sqrt(x); }
inline float quotient(float a, float b) { return a / b; }

// |w| - t, not below 0, with the sign of w.
inline float soft(float w, float t) { return std::copysign(at_least(std::fabs(w) - t, 0.0f), w); }

inline Lanes all(float x) { return Lanes{} + x; }
inline Lanes inverse(Lanes x) { return 1.0f / x; }
inline Lanes quotient(Lanes a, Lanes b) { return a / b; }
#if defined(__AVX2__) && defined(__FMA__)
inline Lanes at_least(Lanes x, float bottom) { return (Lanes)_mm256_max_ps((__m256)all(bottom), (__m256)x); }
inline Lanes at_most(Lanes x, float top) { return (Lanes)_mm256_min_ps((__m256)all(top), (__m256)x); }
inline Lanes root(Lanes x) { return (Lanes)_mm256_sqrt_ps((__m256)x); }
#else
inline Lanes at_least(Lanes x, float bottom) { return x < bottom ? all(bottom) : x; }
inline Lanes at_most(Lanes x, float top) { return x > top ? all(top) : x; }
inline Lanes root(Lanes x) {
    for (int64_t k = 0; k < LANES; ++k) x[k] = std::sqrt(x[k]);
    return x;
}
#endif

inline Lanes soft(Lanes w, Lanes t) {
    const Bits sign = (Bits)w & INT32_MIN;
    return (Lanes)((Bits)at_least((Lanes)((Bits)w ^ sign) - t, 0.0f) | sign);
}

// body(i, kind) for i = from .. to - 1, as many at a time as `kind` holds.
template <class Body>
inline __attribute__((always_inline)) void sweep(int64_t from, int64_t to, const Body &body) {
    int64_t i = from;
    for (; i + LANES <= to; i += LANES) body(i, Lanes{});
    for (; i < to; ++i) body(i, 0.0f);
}

// A sum whose terms come several or one at a time, in an order of its own.
struct Sum {
    Lanes many{};
    float one = 0.0f;
    void add(Lanes x) { many += x; }
    void add(float x) { one += x; }
    float total() const {
        float whole = one;
        for (int64_t k = 0; k < LANES; ++k) whole += many[k];
        return whole;
    }
};

}  // namespace dashpot
