// Pixels of a batch of images: where they lie, and how they are written. Bytes are handled as numbers in [0, 255].
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "../core/pool.h"

namespace dashpot {

// A batch in contiguous memory (a channel is a plane) or, where `last`, with the channels of a pixel side by side.
struct Batch {
    int64_t images, channels, height, width, last;
    int64_t pixels() const { return height * width; }
    int64_t size() const { return channels * pixels(); }
    int64_t step() const { return last ? channels : 1; }
    int64_t plane() const { return last ? 1 : pixels(); }
};

template <class T>
constexpr float top = std::is_same_v<T, uint8_t> ? 255.0f : 1.0f;

// What one unit of an input is in the units of the output.
template <class In, class Out>
constexpr float scale = top<Out> / top<In>;

inline float clipped(float v, float high) {  // not a number stays
    v = v < 0.0f ? 0.0f : v;
    return v > high ? high : v;
}

// A value in the units of the output, clipped to its range; bytes are rounded to the nearest.
template <class T>
inline T written(float v) {
    if constexpr (std::is_same_v<T, uint8_t>) {
        // Clipped as whole numbers, which compilers make a saturating pack of; v is far from what they cannot hold.
        const int32_t whole = (int32_t)(v + 0.5f);
        const int32_t low = whole < 0 ? 0 : whole;
        return (uint8_t)(low > 255 ? 255 : low);
    } else {
        return clipped(v, 1.0f);
    }
}

// The same pixels in another type, bit for bit what torch's division makes of bytes.
template <class In, class Out>
void copied(const In *x, Out *out, int64_t n) {
    if constexpr (std::is_same_v<In, Out>) {
        if (x != out) std::memcpy(out, x, n * sizeof(In));
    } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) out[i] = (float)x[i] / 255.0f;
    }
}

// work(i) for each image i, side by side.
template <class Work>
void each_image(int threads, int64_t images, const Work &work) {
    parallel(threads, [&](int k, int n) {
        for (int64_t i = images * k / n, end = images * (k + 1) / n; i < end; ++i) work(i);
    });
}

// call(In*, Out*) with pointers of the types that `types` names: 0 bytes, 1 floats, 2 bytes that become floats.
template <class Call>
void typed(int types, const void *x, void *out, const Call &call) {
    if (types == 0)
        call((const uint8_t *)x, (uint8_t *)out);
    else if (types == 1)
        call((const float *)x, (float *)out);
    else
        call((const uint8_t *)x, (float *)out);
}

}  // namespace dashpot
