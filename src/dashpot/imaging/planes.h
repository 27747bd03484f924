// Three planes as pixels of four numbers side by side, and back, with vectors where the processor has them.
#pragma once
#include "pixels.h"

namespace dashpot {

#ifdef __SSSE3__
// Bytes as words with six bits behind the point; how many pixels are done.
inline int64_t woven(const uint8_t *a, const uint8_t *b, const uint8_t *c, int16_t *to, int64_t pixels) {
    const __m128i zero = _mm_setzero_si128();
    const auto put = [&](__m128i two, int16_t *out) {
        _mm_storeu_si128((__m128i *)out, _mm_slli_epi16(_mm_unpacklo_epi8(two, zero), 6));
        _mm_storeu_si128((__m128i *)(out + 8), _mm_slli_epi16(_mm_unpackhi_epi8(two, zero), 6));
    };
    int64_t k = 0;
    for (; k + 16 <= pixels; k += 16, to += 64) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(a + k)), y = _mm_loadu_si128((const __m128i *)(b + k));
        const __m128i z = _mm_loadu_si128((const __m128i *)(c + k));
        const __m128i low = _mm_unpacklo_epi8(x, y), high = _mm_unpackhi_epi8(x, y);
        const __m128i last_low = _mm_unpacklo_epi8(z, zero), last_high = _mm_unpackhi_epi8(z, zero);
        put(_mm_unpacklo_epi16(low, last_low), to);
        put(_mm_unpackhi_epi16(low, last_low), to + 16);
        put(_mm_unpacklo_epi16(high, last_high), to + 32);
        put(_mm_unpackhi_epi16(high, last_high), to + 48);
    }
    return k;
}

inline int64_t woven(const float *a, const float *b, const float *c, float *to, int64_t pixels) {
    int64_t k = 0;
    for (; k + 4 <= pixels; k += 4) {
        __m128 x = _mm_loadu_ps(a + k), y = _mm_loadu_ps(b + k), z = _mm_loadu_ps(c + k), none = _mm_setzero_ps();
        _MM_TRANSPOSE4_PS(x, y, z, none);
        _mm_storeu_ps(to + 4 * k, x);
        _mm_storeu_ps(to + 4 * k + 4, y);
        _mm_storeu_ps(to + 4 * k + 8, z);
        _mm_storeu_ps(to + 4 * k + 12, none);
    }
    return k;
}

inline int64_t parted(const uint8_t *row, uint8_t *a, uint8_t *b, uint8_t *c, int64_t pixels) {
    const __m128i order = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const auto four = [&](int64_t k) {
        return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(row + 4 * k)), order);
    };
    int64_t k = 0;
    for (; k + 16 <= pixels; k += 16) {
        const __m128i w = four(k), x = four(k + 4), y = four(k + 8), z = four(k + 12);
        const __m128i ab = _mm_unpacklo_epi32(w, x), ab_later = _mm_unpacklo_epi32(y, z);
        const __m128i cd = _mm_unpackhi_epi32(w, x), cd_later = _mm_unpackhi_epi32(y, z);
        _mm_storeu_si128((__m128i *)(a + k), _mm_unpacklo_epi64(ab, ab_later));
        _mm_storeu_si128((__m128i *)(b + k), _mm_unpackhi_epi64(ab, ab_later));
        _mm_storeu_si128((__m128i *)(c + k), _mm_unpacklo_epi64(cd, cd_later));
    }
    return k;
}

inline int64_t parted(const float *row, float *a, float *b, float *c, int64_t pixels) {
    int64_t k = 0;
    for (; k + 4 <= pixels; k += 4) {
        __m128 w = _mm_loadu_ps(row + 4 * k), x = _mm_loadu_ps(row + 4 * k + 4);
        __m128 y = _mm_loadu_ps(row + 4 * k + 8), z = _mm_loadu_ps(row + 4 * k + 12);
        _MM_TRANSPOSE4_PS(w, x, y, z);
        _mm_storeu_ps(a + k, w);
        _mm_storeu_ps(b + k, x);
        _mm_storeu_ps(c + k, y);
    }
    return k;
}
#else
template <class In, class Held>
int64_t woven(const In *, const In *, const In *, Held *, int64_t) {
    return 0;
}

template <class Out>
int64_t parted(const Out *, Out *, Out *, Out *, int64_t) {
    return 0;
}
#endif

}  // namespace dashpot
