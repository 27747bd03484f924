// The channels of a pixel side by side, as one vector: how they are held, and blended with those of its neighbours.
#pragma once
#include "pixels.h"

namespace dashpot {

// A part of the way to the next pixel: a float, or for bytes 15 bits.
template <class Weight>
inline Weight weight(float part);
template <>
inline float weight<float>(float part) {
    return part;
}
template <>
inline int16_t weight<int16_t>(float part) {
    const int32_t whole = (int32_t)(part * 32768.0f + 0.5f);
    return (int16_t)(whole < 32767 ? whole : 32767);
}

// Four channels of floats.
struct Floats4 {
    using Held = float;
    using Weight = float;
    static constexpr int COUNT = 4;
    static float held(float x) { return x; }

    static void blend(const float *v00, const float *v01, const float *v10, const float *v11, float fx, float fy,
        float *out) {
        const f4 a = load4(v00), b = load4(v01), c = load4(v10), d = load4(v11);
        const f4 left = a + fy * (c - a), right = b + fy * (d - b);
        const f4 found = left + fx * (right - left);
        std::memcpy(out, &found, 16);
    }

    // `top` and `low` are followed by the next pixel of their rows.
    static void blend_pairs(const float *top, const float *low, float fx, float fy, float *out) {
        blend(top, top + 4, low, low + 4, fx, fy, out);
    }

    // A part of the way from one row to the next, and then within it.
    using Line = float;
    static float between(float top, float low, float fy) { return top + fy * (low - top); }
    static void blend_line(const float *p, float fx, float *out) {
        const f4 left = load4(p), right = load4(p + 4), found = left + fx * (right - left);
        std::memcpy(out, &found, 16);
    }
};

// One channel of bytes or floats.
template <class In>
struct One {
    using Held = In;
    using Weight = float;
    static constexpr int COUNT = 1;
    static In held(In x) { return x; }

    template <class Out>
    static void blend(const In *v00, const In *v01, const In *v10, const In *v11, float fx, float fy, Out *out) {
        const float a = (float)*v00, b = (float)*v01, c = (float)*v10, d = (float)*v11;
        const float left = a + fy * (c - a), right = b + fy * (d - b);
        finished<In>(left + fx * (right - left), out);
    }

    template <class Out>
    static void blend_pairs(const In *top, const In *low, float fx, float fy, Out *out) {
        blend(top, top + 1, low, low + 1, fx, fy, out);
    }

    using Line = float;
    static float between(In top, In low, float fy) { return (float)top + fy * ((float)low - (float)top); }
    template <class Out>
    static void blend_line(const float *p, float fx, Out *out) {
        finished<In>(p[0] + fx * (p[1] - p[0]), out);
    }
};

// Four channels of bytes.
#ifdef __SSSE3__
// Held with six bits behind the point: a blend is off by a fiftieth of a level.
struct Bytes4 {
    using Held = int16_t;
    using Weight = int16_t;
    static constexpr int COUNT = 4;
    static int16_t held(uint8_t x) { return (int16_t)(x << 6); }

    template <class Out>
    static void blend(const int16_t *v00, const int16_t *v01, const int16_t *v10, const int16_t *v11, int16_t fx,
        int16_t fy, Out *out) {
        const __m128i top = _mm_unpacklo_epi64(word(v00), word(v01)), low = _mm_unpacklo_epi64(word(v10), word(v11));
        lerped(top, low, fx, fy, out);
    }

    template <class Out>
    static void blend_pairs(const int16_t *top, const int16_t *low, int16_t fx, int16_t fy, Out *out) {
        lerped(_mm_loadu_si128((const __m128i *)top), _mm_loadu_si128((const __m128i *)low), fx, fy, out);
    }

    using Line = int16_t;
    static int16_t between(int16_t top, int16_t low, int16_t fy) {
        return (int16_t)(top + (int16_t)((((int32_t)(int16_t)(low - top) * fy >> 14) + 1) >> 1));
    }
    template <class Out>
    static void blend_line(const int16_t *p, int16_t fx, Out *out) {
        along(_mm_loadu_si128((const __m128i *)p), fx, out);
    }

#ifdef __AVX2__
    // Four pixels at a time; `at` says for each which pixel it follows, fx how far behind, and fy (but on a LINE) how
    // far towards the row that is `below` numbers away. How many are done.
    template <bool LINE, class Out>
    static int32_t blend_four(const int16_t *in, const int32_t *at, int64_t below, const int16_t *fx, const int16_t *fy,
        int32_t count, Out *out) {
        int32_t j = 0;
        for (; j + 4 <= count; j += 4) {
            __m256i a = two(in, at + j), b = two(in, at + j + 2);
            if (!LINE) {
                a = part(a, two(in + below, at + j), spread(fy + j));
                b = part(b, two(in + below, at + j + 2), spread(fy + j + 2));
            }
            a = part(a, _mm256_unpackhi_epi64(a, a), spread(fx + j));
            b = part(b, _mm256_unpackhi_epi64(b, b), spread(fx + j + 2));
            store(_mm256_unpacklo_epi64(a, b), out + 4 * j);
        }
        return j;
    }
#endif

private:
#ifdef __AVX2__
    static __m256i two(const int16_t *in, const int32_t *at) {
        const auto pixel = [&](int32_t k) { return _mm_loadu_si128((const __m128i *)(in + (int64_t)k * 4)); };
        return _mm256_inserti128_si256(_mm256_castsi128_si256(pixel(at[0])), pixel(at[1]), 1);
    }

    // The first of two weights in all of one half, the second in the other.
    static __m256i spread(const int16_t *weights) {
        int32_t both;
        std::memcpy(&both, weights, 4);
        return _mm256_shuffle_epi8(_mm256_set1_epi32(both),
            _mm256_inserti128_si256(_mm256_set1_epi16(0x0100), _mm_set1_epi16(0x0302), 1));
    }

    static __m256i part(__m256i from, __m256i to, __m256i weight) {
        return _mm256_add_epi16(from, _mm256_mulhrs_epi16(_mm256_sub_epi16(to, from), weight));
    }

    // Pixels 0, 2, 1 and 3.
    static void store(__m256i found, uint8_t *out) {
        found = _mm256_srli_epi16(_mm256_add_epi16(found, _mm256_set1_epi16(32)), 6);
        found = _mm256_packus_epi16(found, found);
        _mm_storeu_si128((__m128i *)out,
            _mm_unpacklo_epi32(_mm256_castsi256_si128(found), _mm256_extracti128_si256(found, 1)));
    }

    static void store(__m256i found, float *out) {
        found = _mm256_permute4x64_epi64(found, 0xD8);
        const __m256 scale = _mm256_set1_ps(1.0f / (64 * 255));
        const auto levels = [&](__m128i eight) { return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(eight)); };
        _mm256_storeu_ps(out, _mm256_mul_ps(levels(_mm256_castsi256_si128(found)), scale));
        _mm256_storeu_ps(out + 8, _mm256_mul_ps(levels(_mm256_extracti128_si256(found, 1)), scale));
    }
#endif

    static __m128i word(const int16_t *p) { return _mm_loadl_epi64((const __m128i *)p); }

    template <class Out>
    static void lerped(__m128i top, __m128i low, int16_t fx, int16_t fy, Out *out) {
        along(_mm_add_epi16(top, _mm_mulhrs_epi16(_mm_sub_epi16(low, top), _mm_set1_epi16(fy))), fx, out);
    }

    template <class Out>
    static void along(__m128i both, int16_t fx, Out *out) {
        const __m128i next = _mm_unpackhi_epi64(both, both);
        store(_mm_add_epi16(both, _mm_mulhrs_epi16(_mm_sub_epi16(next, both), _mm_set1_epi16(fx))), out);
    }

    static void store(__m128i found, uint8_t *out) {
        found = _mm_srli_epi16(_mm_add_epi16(found, _mm_set1_epi16(32)), 6);
        const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(found, found));
        std::memcpy(out, &four, 4);
    }

    static void store(__m128i found, float *out) {
        const __m128 level = _mm_cvtepi32_ps(_mm_unpacklo_epi16(found, _mm_setzero_si128()));
        _mm_storeu_ps(out, _mm_mul_ps(level, _mm_set1_ps(1.0f / (64 * 255))));
    }
};
#else
struct Bytes4 {
    using Held = uint8_t;
    using Weight = float;
    static constexpr int COUNT = 4;
    static uint8_t held(uint8_t x) { return x; }

    template <class Out>
    static void blend(const uint8_t *v00, const uint8_t *v01, const uint8_t *v10, const uint8_t *v11, float fx,
        float fy, Out *out) {
        for (int k = 0; k < 4; ++k) One<uint8_t>::blend(v00 + k, v01 + k, v10 + k, v11 + k, fx, fy, out + k);
    }

    template <class Out>
    static void blend_pairs(const uint8_t *top, const uint8_t *low, float fx, float fy, Out *out) {
        blend(top, top + 4, low, low + 4, fx, fy, out);
    }

    using Line = float;
    static float between(uint8_t top, uint8_t low, float fy) { return One<uint8_t>::between(top, low, fy); }
    template <class Out>
    static void blend_line(const float *p, float fx, Out *out) {
        for (int k = 0; k < 4; ++k) finished<uint8_t>(p[k] + fx * (p[k + 4] - p[k]), out + k);
    }
};
#endif

}  // namespace dashpot
