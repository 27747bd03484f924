// Writes past the caches, for outputs that are larger than those: what is written whole need not be read first.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace dashpot {

constexpr int64_t LARGE = 1 << 24;  // bytes of the whole output from which that pays

// A copy; other threads see it after `settle`.
inline void stream(const void *from, void *to, int64_t bytes) {
#ifdef __SSE2__
    const char *x = (const char *)from;
    char *out = (char *)to;
    int64_t i = std::min<int64_t>(-(uintptr_t)out & 15, bytes);
    std::memcpy(out, x, i);
    for (; i + 64 <= bytes; i += 64)
        for (int64_t k = i; k < i + 64; k += 16)
            _mm_stream_si128((__m128i *)(out + k), _mm_loadu_si128((const __m128i *)(x + k)));
    std::memcpy(out + i, x + i, bytes - i);
#else
    std::memcpy(to, from, bytes);
#endif
}

inline void settle() {
#ifdef __SSE2__
    _mm_sfence();
#endif
}

// Read soon: processors foresee that by themselves only where memory is read upwards.
inline void expect(const void *from, int64_t bytes) {
    for (int64_t k = 0; k < bytes; k += 64) __builtin_prefetch((const char *)from + k);
}

}  // namespace dashpot
