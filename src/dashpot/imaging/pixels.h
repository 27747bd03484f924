// Pixels of four channels side by side, as vectors of four floats, and what lies outside of a picture.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __SSE4_1__
#include <immintrin.h>
#endif

namespace dashpot {

enum Border : int32_t { REFLECT, ZERO, REPLICATE };

typedef float f4 __attribute__((vector_size(16)));
typedef int32_t i4 __attribute__((vector_size(16)));

inline f4 load4(const float *p) {
    f4 v;
    std::memcpy(&v, p, 16);
    return v;
}

inline f4 load4(const uint8_t *p) {
#ifdef __SSE4_1__
    int32_t word;
    std::memcpy(&word, p, 4);
    return (f4)_mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(word)));
#else
    return f4{(float)p[0], (float)p[1], (float)p[2], (float)p[3]};
#endif
}

inline void store4(float *p, f4 v) { std::memcpy(p, &v, 16); }

inline void store4(uint8_t *p, f4 v) {
    v += 0.5f;
#ifdef __SSE4_1__
    const __m128i whole = _mm_cvttps_epi32((__m128)v);
    const __m128i half = _mm_packus_epi32(whole, whole);
    const int32_t word = _mm_cvtsi128_si32(_mm_packus_epi16(half, half));
    std::memcpy(p, &word, 4);
#else
    for (int k = 0; k < 4; ++k) p[k] = (uint8_t)v[k];
#endif
}

inline float load1(const float *p) { return *p; }
inline float load1(const uint8_t *p) { return (float)*p; }
inline void store1(float *p, float v) { *p = v; }
inline void store1(uint8_t *p, float v) { *p = (uint8_t)(v + 0.5f); }

// From what is held to what is asked for: bytes to floats in [0, 1], else as it is.
inline void put(float *to, uint8_t from) { *to = (float)from / 255.0f; }
inline void put(float *to, float from) { *to = from; }
inline void put(uint8_t *to, uint8_t from) { *to = from; }

// Where a whole coordinate is read; `zero` stands for nothing.
template <int BORDER>
inline int32_t bordered(int32_t i, int32_t length) {
    const int32_t most = length - 1;
    if (BORDER == REFLECT) {
        i = i < 0 ? -i : i;
        if (i > most) {  // once is enough near the picture
            i = 2 * most - i;
            if (i < 0) {
                if (most == 0) return 0;
                i = -i % (2 * most);
                i = i > most ? 2 * most - i : i;
            }
        }
        return i;
    }
    return i < 0 ? 0 : i > most ? most : i;
}

}  // namespace dashpot
