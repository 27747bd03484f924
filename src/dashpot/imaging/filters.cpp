// Gaussian blur and sharpness: rows as floats in a ring, so that an image may be written over itself.
#include <algorithm>
#include <vector>

#include "layout.h"

using dashpot::Batch;
using dashpot::written;

namespace {

struct Room {
    std::vector<float> ring, line;
    std::vector<const float *> before, after;
};

template <class T>
inline T kept(float v) {  // averages stay in the range of what they average
    if constexpr (std::is_same_v<T, uint8_t>)
        return written<T>(v);
    else
        return v;
}

int64_t mirrored(int64_t i, int64_t n) {
    if (n == 1) return 0;
    const int64_t period = 2 * (n - 1);
    i = (i % period + period) % period;
    return std::min(i, period - i);
}

// to[i] = w[0] centre[i] + sum of w[j] (before[j][i] + after[j][i]), j = 1 .. R; R of 0: `radius` of them.
template <int R, class Out>
void weighted(const float *centre, const float *const *before, const float *const *after, const float *w, int radius,
    int64_t n, Out *to) {
    if constexpr (R > 0) {
        const float *a[R], *b[R];
        float v[R];
        for (int j = 0; j < R; ++j) a[j] = before[j], b[j] = after[j], v[j] = w[j + 1];
        const float w0 = w[0];
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            float sum = w0 * centre[i];
#pragma GCC unroll 8
            for (int j = 0; j < R; ++j) sum += v[j] * (a[j][i] + b[j][i]);
            to[i] = kept<Out>(sum);
        }
    } else {
        constexpr int64_t PART = 64;  // so many sums stay in registers
        int64_t from = 0;
        for (; from + PART <= n; from += PART) {
            float sum[PART];
#pragma omp simd
            for (int64_t i = 0; i < PART; ++i) sum[i] = w[0] * centre[from + i];
            for (int j = 0; j < radius; ++j) {
                const float *a = before[j] + from, *b = after[j] + from, v = w[j + 1];
#pragma omp simd
                for (int64_t i = 0; i < PART; ++i) sum[i] += v * (a[i] + b[i]);
            }
#pragma omp simd
            for (int64_t i = 0; i < PART; ++i) to[from + i] = kept<Out>(sum[i]);
        }
        for (; from < n; ++from) {
            float sum = w[0] * centre[from];
            for (int j = 0; j < radius; ++j) sum += w[j + 1] * (before[j][from] + after[j][from]);
            to[from] = kept<Out>(sum);
        }
    }
}

template <class In>
void read(const In *x, float *to, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = (float)x[i];
}

// One plane of `height` rows of `width` pixels of `step` numbers.
template <int R, class In, class Out>
void blurred(const In *x, Out *out, int64_t height, int64_t width, int64_t step, const float *w, int radius,
    Room &room) {
    const int64_t n = width * step, pad = radius * step, slots = std::min<int64_t>(height, 2 * radius + 1);
    std::vector<float> across(w, w + radius + 1);
    for (float &v : across) v *= dashpot::scale<In, Out>;
    room.ring.resize(slots * n);
    room.line.resize(n + 2 * pad);
    room.before.resize(radius), room.after.resize(radius);
    const auto row = [&](int64_t i) { return room.ring.data() + mirrored(i, height) % slots * n; };
    float *line = room.line.data() + pad;
    for (int64_t y = 0, there = 0; y < height; ++y) {
        for (; there < height && there <= y + radius; ++there)
            read(x + there * n, room.ring.data() + there % slots * n, n);
        for (int j = 1; j <= radius; ++j) room.before[j - 1] = row(y - j), room.after[j - 1] = row(y + j);
        weighted<R>(row(y), room.before.data(), room.after.data(), w, radius, n, line);
        for (int64_t i = 1; i <= radius; ++i)
            for (int64_t k = 0; k < step; ++k) {
                line[-i * step + k] = line[mirrored(-i, width) * step + k];
                line[(width - 1 + i) * step + k] = line[mirrored(width - 1 + i, width) * step + k];
            }
        for (int j = 1; j <= radius; ++j) room.before[j - 1] = line - j * step, room.after[j - 1] = line + j * step;
        weighted<R>(line, room.before.data(), room.after.data(), across.data(), radius, n, out + y * n);
    }
}

template <class In, class Out>
void blurred(const In *x, Out *out, int64_t height, int64_t width, int64_t step, const float *w, int radius,
    Room &room) {
    switch (radius) {
#define DASHPOT_RADIUS(R) case R: return blurred<R>(x, out, height, width, step, w, radius, room);
        DASHPOT_RADIUS(1) DASHPOT_RADIUS(2) DASHPOT_RADIUS(3) DASHPOT_RADIUS(4)
        DASHPOT_RADIUS(5) DASHPOT_RADIUS(6) DASHPOT_RADIUS(7) DASHPOT_RADIUS(8)
#undef DASHPOT_RADIUS
        default: return blurred<0>(x, out, height, width, step, w, radius, room);
    }
}

// out = smooth + factor (x - smooth) inside, the edge as it is.
template <class In, class Out>
void sharpened(const In *x, Out *out, int64_t height, int64_t width, int64_t step, float factor, Room &room) {
    const int64_t n = width * step;
    if (height < 3 || width < 3 || factor == 1.0f) return dashpot::copied(x, out, height * n);
    room.ring.resize(3 * n);
    room.line.resize(n);
    float *a = room.ring.data(), *b = a + n, *c = b + n, *sum = room.line.data();
    const float own = (factor + (1.0f - factor) * 4.0f / 13.0f) * dashpot::scale<In, Out>;
    const float all = (1.0f - factor) / 13.0f * dashpot::scale<In, Out>;
    read(x, a, n);
    read(x + n, b, n);
    dashpot::copied(x, out, n);
    for (int64_t y = 1; y + 1 < height; ++y) {
        read(x + (y + 1) * n, c, n);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) sum[i] = a[i] + b[i] + c[i];
        Out *to = out + y * n;
        const In *from = x + y * n;
        dashpot::copied(from, to, step);
        dashpot::copied(from + n - step, to + n - step, step);
        const float *left = sum - step, *right = sum + step;
#pragma omp simd
        for (int64_t i = step; i < n - step; ++i)
            to[i] = written<Out>(own * b[i] + all * (left[i] + sum[i] + right[i]));
        float *oldest = a;
        a = b, b = c, c = oldest;
    }
    dashpot::copied(x + (height - 1) * n, out + (height - 1) * n, n);
}

// work(from, to, planes, step) for each image: its planes, or all of it as one plane of pixels of several numbers.
template <class Work>
void each(int threads, int types, const Batch &at, const void *x, void *out, const Work &work) {
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        dashpot::each_image(threads, at.images, [&](int64_t i) {
            thread_local Room room;
            const int64_t planes = at.last ? 1 : at.channels, size = at.size() / planes;
            for (int64_t k = i * planes; k < (i + 1) * planes; ++k) work(i, from + k * size, to + k * size, room);
        });
    });
}

}  // namespace

// weights [image, most + 1]: of the pixel itself, of those beside it, and so on; zeros at the end do not act.
extern "C" void dashpot_blur(int threads, int types, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const void *x, const float *weights, int64_t most, void *out) {
    const Batch at{images, channels, height, width, last};
    each(threads, types, at, x, out, [&](int64_t i, auto *from, auto *to, Room &room) {
        const float *w = weights + i * (most + 1);
        int radius = (int)most;
        while (radius > 0 && w[radius] == 0.0f) --radius;
        if (radius == 0)
            dashpot::copied(from, to, height * width * at.step());
        else
            blurred(from, to, height, width, at.step(), w, radius, room);
    });
}

extern "C" void dashpot_sharpness(int threads, int types, int64_t images, int64_t channels, int64_t height,
    int64_t width, int64_t last, const void *x, const float *factor, void *out) {
    const Batch at{images, channels, height, width, last};
    each(threads, types, at, x, out, [&](int64_t i, auto *from, auto *to, Room &room) {
        sharpened(from, to, height, width, at.step(), factor[i], room);
    });
}
