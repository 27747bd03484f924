// Rows of pixels read between pixels: places first, then values, all channels of a pixel at a time.
#pragma once
#include <cmath>
#include <type_traits>

#include "lanes.h"

namespace dashpot {

constexpr int32_t BLOCK = 16;  // pixels of which it is asked together whether all of them lie inside
constexpr float FAR = 1e6f;

// The places that the pixels of row i are read at.
inline void places(const double *m, const float *flow_x, const float *flow_y, int64_t i, int64_t ow, float *xs,
    float *ys) {
    const float a = (float)m[0], d = (float)m[3], bx = (float)(m[1] * i + m[2]), by = (float)(m[4] * i + m[5]);
    const float b = (float)m[1], e = (float)m[4];
    if (flow_x) {
        for (int64_t j = 0; j < ow; ++j) {
            xs[j] = a * ((float)j + flow_x[j]) + b * flow_y[j] + bx;
            ys[j] = d * ((float)j + flow_x[j]) + e * flow_y[j] + by;
        }
    } else {
        for (int32_t j = 0; j < (int32_t)ow; ++j) {
            xs[j] = a * (float)j + bx;
            ys[j] = d * (float)j + by;
        }
    }
    if (m[6] != 0 || m[7] != 0 || m[8] != 1) {
        const float g = (float)m[6], h = (float)m[7], bz = (float)(m[7] * i + m[8]);
        for (int32_t j = 0; j < (int32_t)ow; ++j) {
            const float u = flow_x ? flow_x[j] : 0.0f, v = flow_x ? flow_y[j] : 0.0f;
            const float over = 1.0f / (g * ((float)j + u) + h * v + bz);
            xs[j] *= over;
            ys[j] *= over;
        }
    }
}

inline float kept(float x) {
    x = x > -FAR ? x : -FAR;  // not-a-number too
    return x < FAR ? x : FAR;
}

// What is read for each pixel of a block: its four neighbours' places, and how far it is past the first of them.
template <class Weight>
struct Taps {
    int32_t o00[BLOCK], o01[BLOCK], o10[BLOCK], o11[BLOCK];
    Weight fx[BLOCK], fy[BLOCK];
};

template <int BORDER, class Weight>
void taps_near_the_border(const float *xs, const float *ys, int32_t count, int32_t h, int32_t w, Taps<Weight> &t) {
    const int32_t zero = h * w;
    for (int32_t j = 0; j < count; ++j) {
        const float x = kept(xs[j]), y = kept(ys[j]), left = std::floor(x), top = std::floor(y);
        const int32_t ix = (int32_t)left, iy = (int32_t)top;
        const int32_t x0 = bordered<BORDER>(ix, w), x1 = bordered<BORDER>(ix + 1, w);
        const int32_t y0 = bordered<BORDER>(iy, h) * w, y1 = bordered<BORDER>(iy + 1, h) * w;
        const int32_t l = BORDER != ZERO || (x0 == ix), r = BORDER != ZERO || (x1 == ix + 1);
        const int32_t u = BORDER != ZERO || (y0 == iy * w), b = BORDER != ZERO || (y1 == (iy + 1) * w);
        t.o00[j] = u & l ? y0 + x0 : zero;
        t.o01[j] = u & r ? y0 + x1 : zero;
        t.o10[j] = b & l ? y1 + x0 : zero;
        t.o11[j] = b & r ? y1 + x1 : zero;
        t.fx[j] = weight<Weight>(x - left);
        t.fy[j] = weight<Weight>(y - top);
    }
}

// Coordinates outside of [0, most] as the ones inside that read the same.
template <int BORDER>
void fold(float *at, int32_t count, float most) {
    const float period = 2 * most, turns = 1 / period;
    for (int32_t j = 0; j < count; ++j) {
        float x = kept(at[j]);
        if (BORDER == REFLECT) {
            x -= period * std::floor(x * turns);
            x = x < period - x ? x : period - x;
        }
        x = x > 0 ? x : 0;
        at[j] = x < most ? x : most;
    }
}

// One block of pixels that are read inside.
template <class L, class Out>
void inside_block(const typename L::Held *in, int32_t h, int32_t w, const float *xs, const float *ys, int32_t count,
    Taps<typename L::Weight> &t, Out *out) {
    for (int32_t j = 0; j < count; ++j) {
        int32_t ix = (int32_t)xs[j], iy = (int32_t)ys[j];
        ix = ix < w - 2 ? ix : w - 2;
        iy = iy < h - 2 ? iy : h - 2;
        t.o00[j] = iy * w + ix;
        t.fx[j] = weight<typename L::Weight>(xs[j] - (float)ix);
        t.fy[j] = weight<typename L::Weight>(ys[j] - (float)iy);
    }
    int32_t done = 0;
#ifdef __AVX2__
    if constexpr (std::is_same_v<L, Bytes4>)
        done = L::template blend_four<false>(in, t.o00, (int64_t)w * L::COUNT, t.fx, t.fy, count, out);
#endif
    for (int32_t j = done; j < count; ++j) {
        const typename L::Held *p = in + (int64_t)t.o00[j] * L::COUNT;
        L::blend_pairs(p, p + (int64_t)w * L::COUNT, t.fx[j], t.fy[j], out + j * L::COUNT);
    }
}

inline bool all_inside(const float *xs, const float *ys, int32_t count, float most_x, float most_y) {
    int outside = 0;
    for (int32_t j = 0; j < count; ++j)
        outside |= !(xs[j] >= 0) | !(xs[j] <= most_x) | !(ys[j] >= 0) | !(ys[j] <= most_y);
    return !outside;
}

// One row of output pixels, the channels of L side by side. It may change the coordinates.
template <int BORDER, class L, class Out>
void bilinear_row(const typename L::Held *in, int32_t h, int32_t w, float *xs, float *ys, int32_t ow, Out *out) {
    const float most_x = (float)(w - 1), most_y = (float)(h - 1);
    const bool wide = w > 1 && h > 1, folded = wide && BORDER != ZERO;
    Taps<typename L::Weight> t;
    if (folded && !all_inside(xs, ys, ow, most_x, most_y)) {
        fold<BORDER>(xs, ow, most_x);
        fold<BORDER>(ys, ow, most_y);
    }
    for (int32_t from = 0; from < ow; from += BLOCK, xs += BLOCK, ys += BLOCK) {
        const int32_t count = ow - from < BLOCK ? ow - from : BLOCK;
        Out *row = out + from * L::COUNT;
        if (folded || (wide && all_inside(xs, ys, count, most_x, most_y))) {
            inside_block<L>(in, h, w, xs, ys, count, t, row);
            continue;
        }
        taps_near_the_border<BORDER>(xs, ys, count, h, w, t);
        for (int32_t j = 0; j < count; ++j)
            L::blend(in + (int64_t)t.o00[j] * L::COUNT, in + (int64_t)t.o01[j] * L::COUNT,
                in + (int64_t)t.o10[j] * L::COUNT, in + (int64_t)t.o11[j] * L::COUNT, t.fx[j], t.fy[j],
                row + j * L::COUNT);
    }
}

// One row where nothing turns: between two rows first, with vectors as long as the processor has, then along the line.
// `at` and `fx` say for each output pixel which pixel of the line it follows, and how far behind.
template <class L, class Out>
void upright_row(const typename L::Held *in, int32_t h, int32_t w, float y, const int32_t *at,
    const typename L::Weight *fx, int32_t first, int32_t last, int32_t ow, typename L::Line *line, Out *out) {
    const int32_t iy = (int32_t)y < h - 2 ? (int32_t)y : h - 2;
    const typename L::Weight fy = weight<typename L::Weight>(y - (float)iy);
    const typename L::Held *top = in + (int64_t)iy * w * L::COUNT, *low = top + (int64_t)w * L::COUNT;
    for (int32_t k = first * L::COUNT; k < (last + 2) * L::COUNT; ++k) line[k] = L::between(top[k], low[k], fy);
    int32_t done = 0;
#ifdef __AVX2__
    if constexpr (std::is_same_v<L, Bytes4>)
        done = L::template blend_four<true>(line, at, 0, fx, nullptr, ow, out);
#endif
    for (int32_t j = done; j < ow; ++j) L::blend_line(line + at[j] * L::COUNT, fx[j], out + j * L::COUNT);
}

// Whole pixels, where they are; -1 for nothing.
template <int BORDER>
void nearest_places(int32_t h, int32_t w, const float *xs, const float *ys, int32_t ow, int32_t *at) {
    for (int32_t j = 0; j < ow; ++j) {
        const int32_t ix = (int32_t)std::floor(kept(xs[j]) + 0.5f), iy = (int32_t)std::floor(kept(ys[j]) + 0.5f);
        const bool inside = ix >= 0 && ix < w && iy >= 0 && iy < h;
        at[j] = BORDER == ZERO && !inside ? -1 : bordered<BORDER>(iy, h) * w + bordered<BORDER>(ix, w);
    }
}

}  // namespace dashpot
