// Each image of a batch mixed with another one of it.
#include <algorithm>
#include <cmath>
#include <vector>

#include "layout.h"
#include "streaming.h"

using dashpot::Batch;
using dashpot::LARGE;

namespace {

constexpr int64_t CHUNK = 2048;

struct Box {
    int64_t top, bottom, left, right;
};

template <class T>
void put(const T *x, T *out, int64_t n, bool large) {
    if (large)
        dashpot::stream(x, out, n * sizeof(T));
    else
        std::memcpy(out, x, n * sizeof(T));
}

// `planes` pictures of rows of `width` numbers: those of `other` inside of the box, those of `own` outside.
template <class T>
void pasted(const T *own, const T *other, T *out, int64_t planes, int64_t height, int64_t width, const Box &box,
    bool large) {
    std::vector<T> line(width);
    const int64_t before = box.top * width, after = (height - box.bottom) * width;
    for (int64_t k = 0; k < planes; ++k, own += height * width, other += height * width, out += height * width) {
        put(own, out, before, large);
        for (int64_t y = box.top; y < box.bottom; ++y) {
            T *row = large ? line.data() : out + y * width;
            std::memcpy(row, own + y * width, box.left * sizeof(T));
            std::memcpy(row + box.left, other + y * width + box.left, (box.right - box.left) * sizeof(T));
            std::memcpy(row + box.right, own + y * width + box.right, (width - box.right) * sizeof(T));
            if (large) dashpot::stream(row, out + y * width, width * sizeof(T));
        }
        put(own + box.bottom * width, out + box.bottom * width, after, large);
    }
}

// b + w (a - b), as torch.lerp has it; exact at 0 and 1.
inline void blended(const float *a, const float *b, float w, float *to, int64_t n) {
    const float v = 1.0f - w;
    if (w < 0.5f) {
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) to[j] = b[j] + w * (a[j] - b[j]);
    } else {
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) to[j] = a[j] - (a[j] - b[j]) * v;
    }
}

}  // namespace

// boxes [image, 4]: top, bottom, left and right, the second and last excluded.
extern "C" void dashpot_pasted(int threads, int types, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const void *x, const int64_t *order, const int64_t *boxes, void *out) {
    const Batch at{images, channels, height, width, last};
    const int64_t step = at.step();
    dashpot::typed(types, x, out, [&](auto *from, auto *to) {
        if constexpr (sizeof(*from) == sizeof(*to)) {
            const bool large = images * at.size() * (int64_t)sizeof(*to) >= LARGE;
            dashpot::each_image(threads, images, [&](int64_t i) {
                const int64_t *b = boxes + 4 * i;
                const Box box = b[1] > b[0] && b[3] > b[2] ? Box{b[0], b[1], b[2] * step, b[3] * step} : Box{};
                pasted(from + i * at.size(), from + order[i] * at.size(), to + i * at.size(), at.last ? 1 : channels,
                    height, width * step, box, large);
                if (large) dashpot::settle();
            });
        }
    });
}

// Of floats: share [image] of the image itself.
extern "C" void dashpot_blended(int threads, int, int64_t images, int64_t channels, int64_t height, int64_t width,
    int64_t last, const float *x, const int64_t *order, const float *share, float *out) {
    const Batch at{images, channels, height, width, last};
    const bool large = images * at.size() * (int64_t)sizeof(float) >= LARGE;
    dashpot::each_image(threads, images, [&](int64_t i) {
        const float *a = x + i * at.size(), *b = x + order[i] * at.size();
        float *to = out + i * at.size(), line[CHUNK];
        for (int64_t from = 0; from < at.size(); from += CHUNK) {
            const int64_t n = std::min(CHUNK, at.size() - from);
            blended(a + from, b + from, share[i], large ? line : to + from, n);
            if (large) dashpot::stream(line, to + from, n * sizeof(float));
        }
        if (large) dashpot::settle();
    });
}

// Of each image: the box whose area is what `share` leaves, about a centre in [0, 1), clipped; and the share outside.
extern "C" void dashpot_boxes(int64_t images, int64_t height, int64_t width, const float *share, const float *centres,
    int64_t *boxes, float *left) {
    const int64_t whole[2] = {height, width};
    for (int64_t i = 0; i < images; ++i) {
        const double side = std::sqrt(1.0 - (double)share[i]);
        int64_t area = 1;
        for (int axis = 0; axis < 2; ++axis) {
            const int64_t length = (int64_t)std::nearbyint(side * whole[axis]);
            const int64_t start = (int64_t)((double)centres[2 * i + axis] * whole[axis]) - length / 2;
            int64_t *ends = boxes + 4 * i + 2 * axis;
            ends[0] = std::max<int64_t>(start, 0);
            ends[1] = std::min(start + length, whole[axis]);
            area *= ends[1] - ends[0];
        }
        left[i] = (float)(1.0 - (double)area / (double)(height * width));
    }
}
