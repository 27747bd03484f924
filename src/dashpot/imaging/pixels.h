// What lies outside of a picture, and what bytes are as floats.
#pragma once
#include <cstdint>
#include <cstring>
#ifdef __SSSE3__
#include <immintrin.h>
#endif

namespace dashpot {

enum Border : int32_t { REFLECT, ZERO, REPLICATE };

typedef float f4 __attribute__((vector_size(16)));

inline f4 load4(const float *p) {
    f4 v;
    std::memcpy(&v, p, 16);
    return v;
}

// From what is held to what is asked for: bytes to floats in [0, 1], else as it is.
inline void put(float *to, uint8_t from) { *to = (float)from / 255.0f; }
inline void put(float *to, float from) { *to = from; }
inline void put(uint8_t *to, uint8_t from) { *to = from; }

// The same of a blend of what is held.
template <class In>
inline void finished(float blend, uint8_t *to) {
    *to = (uint8_t)(blend + 0.5f);
}
template <class In>
inline void finished(float blend, float *to) {
    *to = sizeof(In) == 1 ? blend / 255.0f : blend;
}

// Where a whole coordinate is read.
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
