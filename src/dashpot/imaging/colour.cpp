// One linear map of the channels of each image, and pointwise curves.
#include <algorithm>
#include <vector>

#include "curves.h"
#include "layout.h"

using dashpot::Batch;
using dashpot::top;
using dashpot::written;

namespace {

constexpr int64_t CHUNK = 1024;

// Three channels mixed; S is the distance of a channel's pixels.
template <int S, class In, class Out>
void mixed3(const In *x, Out *out, int64_t pixels, int64_t plane, const float *m, const float *b) {
    const In *x0 = x, *x1 = x + plane, *x2 = x + 2 * plane;
    Out *o0 = out, *o1 = out + plane, *o2 = out + 2 * plane;
    const float a00 = m[0], a01 = m[1], a02 = m[2], a10 = m[3], a11 = m[4], a12 = m[5], a20 = m[6], a21 = m[7],
                a22 = m[8], b0 = b[0], b1 = b[1], b2 = b[2];
#pragma omp simd
    for (int64_t p = 0; p < pixels; ++p) {
        const float r = (float)x0[p * S], g = (float)x1[p * S], v = (float)x2[p * S];
        o0[p * S] = written<Out>(a00 * r + a01 * g + a02 * v + b0);
        o1[p * S] = written<Out>(a10 * r + a11 * g + a12 * v + b1);
        o2[p * S] = written<Out>(a20 * r + a21 * g + a22 * v + b2);
    }
}

// Three channels that become one number in all of them, as of grey pictures.
template <int S, class In, class Out>
void merged3(const In *x, Out *out, int64_t pixels, int64_t plane, const float *m, float b) {
    const In *x0 = x, *x1 = x + plane, *x2 = x + 2 * plane;
    Out *o0 = out, *o1 = out + plane, *o2 = out + 2 * plane;
    const float a0 = m[0], a1 = m[1], a2 = m[2];
#pragma omp simd
    for (int64_t p = 0; p < pixels; ++p) {
        const float v = a0 * (float)x0[p * S] + a1 * (float)x1[p * S] + a2 * (float)x2[p * S] + b;
        o0[p * S] = o1[p * S] = o2[p * S] = written<Out>(v);
    }
}

// Any number of channels mixed, a chunk of pixels at a time.
template <class In, class Out>
void mixed(const In *x, Out *out, const Batch &at, const float *m, const float *b, std::vector<float> &room) {
    const int64_t c = at.channels, s = at.step(), plane = at.plane();
    room.resize((c + 1) * CHUNK);
    float *sum = room.data() + c * CHUNK;
    for (int64_t from = 0; from < at.pixels(); from += CHUNK) {
        const int64_t n = std::min(CHUNK, at.pixels() - from);
        for (int64_t k = 0; k < c; ++k)
            for (int64_t p = 0; p < n; ++p) room[k * CHUNK + p] = (float)x[k * plane + (from + p) * s];
        for (int64_t k = 0; k < c; ++k) {
            for (int64_t p = 0; p < n; ++p) sum[p] = b[k];
            for (int64_t j = 0; j < c; ++j) {
                const float a = m[k * c + j];
                const float *channel = room.data() + j * CHUNK;
#pragma omp simd
                for (int64_t p = 0; p < n; ++p) sum[p] += a * channel[p];
            }
            for (int64_t p = 0; p < n; ++p) out[k * plane + (from + p) * s] = written<Out>(sum[p]);
        }
    }
}

// matrix [channels, channels + 1] and about [channels, channels] or null; see `linear` in colour.py.
template <class In, class Out>
void linear(const In *x, Out *out, const Batch &at, const float *matrix, const float *about, std::vector<float> &room) {
    const int64_t c = at.channels;
    std::vector<float> m(c * c), b(c);
    bool same = true, diagonal = true, identity = true, pivot = false;
    for (int64_t k = 0; about && k < c * c; ++k) pivot |= about[k] != 0;
    std::vector<double> mean(c, 0.0);
    if (pivot) dashpot::means(x, at, mean.data());
    for (int64_t k = 0; k < c; ++k) {
        double offset = matrix[k * (c + 1) + c];
        for (int64_t j = 0; j < c; ++j) {
            const float a = matrix[k * (c + 1) + j];
            if (pivot) offset += about[k * c + j] * mean[j];
            m[k * c + j] = a * dashpot::scale<In, Out>;
            diagonal &= j == k || a == 0;
            identity &= a == (j == k ? 1.0f : 0.0f);
        }
        b[k] = (float)(offset * top<Out>);
        identity &= !pivot && b[k] == 0;
        same &= m[k * c + k] == m[0] && b[k] == b[0];
    }
    const bool merged = c == 3 && std::equal(m.begin(), m.begin() + 6, m.begin() + 3) && b[0] == b[1] && b[1] == b[2];
    if (identity)
        dashpot::copied(x, out, at.size());
    else if (diagonal && same)
        dashpot::scaled(x, out, at.size(), m[0], b[0]);
    else if (diagonal && !at.last)
        for (int64_t k = 0; k < c; ++k)
            dashpot::scaled(x + k * at.pixels(), out + k * at.pixels(), at.pixels(), m[k * c + k], b[k]);
    else if (diagonal && c == 3) {
        const float a[3] = {m[0], m[4], m[8]};
        dashpot::scaled_each<3>(x, out, at.pixels(), a, b.data());
    } else if (merged)
        at.last ? merged3<3>(x, out, at.pixels(), 1, m.data(), b[0])
                : merged3<1>(x, out, at.pixels(), at.pixels(), m.data(), b[0]);
    else if (c == 3 && at.last)
        mixed3<3>(x, out, at.pixels(), 1, m.data(), b.data());
    else if (c == 3)
        mixed3<1>(x, out, at.pixels(), at.pixels(), m.data(), b.data());
    else
        mixed(x, out, at, m.data(), b.data(), room);
}

}  // namespace

extern "C" void dashpot_linear(int threads, int types, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const void *x, const float *matrix, const float *about, void *out) {
    const Batch at{images, channels, height, width, last};
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, images, [&](int64_t i) {
            thread_local std::vector<float> room;
            linear(from + i * at.size(), to + i * at.size(), at, matrix + i * channels * (channels + 1),
                about ? about + i * channels * channels : nullptr, room);
        });
    });
}

// See curves.h; kind and level are per image.
extern "C" void dashpot_curve(int threads, int types, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const void *x, const int64_t *kind, const float *level, void *out) {
    const Batch at{images, channels, height, width, last};
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, images, [&](int64_t i) {
            dashpot::curve(from + i * at.size(), to + i * at.size(), at, kind[i], level[i]);
        });
    });
}

// The weighted mean of `count` batches, weights [image, count]; what has the weight 0 is not read. x is the first one.
extern "C" void dashpot_mixture(int threads, int types, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const void *x, const int64_t *places, int64_t count, const float *weights, void *out) {
    const Batch at{images, channels, height, width, last};
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, images, [&](int64_t i) {
            using In = std::remove_reference_t<decltype(*from)>;
            using Out = std::remove_reference_t<decltype(*to)>;
            const float *w = weights + i * count;
            Out *image = to + i * at.size();
            if (w[0] == 1.0f) return dashpot::copied(from + i * at.size(), image, at.size());
            for (int64_t start = 0; start < at.size(); start += CHUNK) {
                const int64_t n = std::min(CHUNK, at.size() - start);
                float sum[CHUNK] = {};
                for (int64_t k = 0; k < count; ++k) {
                    if (w[k] == 0.0f) continue;
                    In *part = (In *)places[k] + i * at.size() + start;
                    const float by = w[k] * dashpot::scale<std::remove_const_t<In>, Out>;
#pragma omp simd
                    for (int64_t p = 0; p < n; ++p) sum[p] += by * (float)part[p];
                }
                for (int64_t p = 0; p < n; ++p)
                    image[start + p] = std::is_same_v<Out, uint8_t> ? (Out)written<Out>(sum[p]) : (Out)sum[p];
            }
        });
    });
}
