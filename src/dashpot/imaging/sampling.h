// Rows of pixels read between pixels: places first, then values, four channels at a time.
#pragma once
#include <cmath>
#include <vector>

#include "pixels.h"

namespace dashpot {

constexpr int32_t BLOCK = 16;  // pixels of which it is asked together whether all of them lie inside
constexpr float FAR = 1e6f;

// One image of LANES channels with its pixels side by side, and one pixel of zeros behind it.
template <class In>
struct Staged {
    std::vector<In> values;

    template <int LANES>
    void fill(const In *in, int64_t channels, int64_t pixels, int64_t step, int64_t plane) {
        values.resize((pixels + 2) * LANES);
        In *to = values.data();
        if (LANES == 1) {
            if (step == 1) std::memcpy(to, in, pixels * sizeof(In));
            else
                for (int64_t k = 0; k < pixels; ++k) to[k] = in[k * step];
        } else if (channels == 3 && step == 1) {
            const In *a = in, *b = in + plane, *c = in + 2 * plane;
            for (int64_t k = 0; k < pixels; ++k) {
                to[4 * k] = a[k];
                to[4 * k + 1] = b[k];
                to[4 * k + 2] = c[k];
                to[4 * k + 3] = 0;
            }
        } else if (channels == 3) {
            for (int64_t k = 0; k < pixels; ++k) {
                to[4 * k] = in[k * step];
                to[4 * k + 1] = in[k * step + plane];
                to[4 * k + 2] = in[k * step + 2 * plane];
                to[4 * k + 3] = 0;
            }
        } else {
            for (int64_t k = 0; k < pixels; ++k)
                for (int64_t c = 0; c < 4; ++c) to[4 * k + c] = c < channels ? in[k * step + c * plane] : In(0);
        }
        std::memset(to + pixels * LANES, 0, 2 * LANES * sizeof(In));
    }
};

// The other way: one row of LANES channels into the output.
template <int LANES, class Out>
void unstaged(const Out *row, Out *out, int64_t channels, int64_t pixels, int64_t step, int64_t plane) {
    if (LANES == 1 && step == 1) {
        std::memcpy(out, row, pixels * sizeof(Out));
    } else if (LANES == 4 && channels == 3 && step == 1) {
        Out *a = out, *b = out + plane, *c = out + 2 * plane;
        for (int64_t k = 0; k < pixels; ++k) {
            a[k] = row[4 * k];
            b[k] = row[4 * k + 1];
            c[k] = row[4 * k + 2];
        }
    } else if (LANES == 4 && channels == 3) {
        for (int64_t k = 0; k < pixels; ++k)
            for (int64_t c = 0; c < 3; ++c) out[k * step + c * plane] = row[4 * k + c];
    } else {
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t k = 0; k < pixels; ++k) out[k * step + c * plane] = row[LANES * k + c];
    }
}

// The places that the pixels of row i are read at.
inline void places(const double *m, const float *flow_x, const float *flow_y, int64_t i, int64_t ow, float *xs, float *ys) {
    const float a = (float)m[0], d = (float)m[3], bx = (float)(m[1] * i + m[2]), by = (float)(m[4] * i + m[5]);
    const float b = (float)m[1], e = (float)m[4];
    if (flow_x) {
        for (int64_t j = 0; j < ow; ++j) {
            xs[j] = a * ((float)j + flow_x[j]) + b * flow_y[j] + bx;
            ys[j] = d * ((float)j + flow_x[j]) + e * flow_y[j] + by;
        }
    } else {
        for (int64_t j = 0; j < ow; ++j) {
            xs[j] = a * (float)j + bx;
            ys[j] = d * (float)j + by;
        }
    }
    if (m[6] != 0 || m[7] != 0 || m[8] != 1) {
        const float g = (float)m[6], h = (float)m[7], bz = (float)(m[7] * i + m[8]);
        for (int64_t j = 0; j < ow; ++j) {
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

template <class Out, class In>
constexpr float scale_of() {
    return sizeof(Out) > sizeof(In) ? 255.0f : 1.0f;
}

template <class In, class Out>
inline void blend4(const In *v00, const In *v01, const In *v10, const In *v11, float fx, float fy, Out *out) {
    const f4 a = load4(v00), b = load4(v01), c = load4(v10), d = load4(v11);
    const f4 top = a + fx * (b - a), low = c + fx * (d - c);
    const f4 found = top + fy * (low - top);
    store4(out, sizeof(Out) > sizeof(In) ? found / 255.0f : found);
}

template <class In, class Out>
inline void blend1(const In *v00, const In *v01, const In *v10, const In *v11, float fx, float fy, Out *out) {
    const float a = load1(v00), b = load1(v01), c = load1(v10), d = load1(v11);
    const float top = a + fx * (b - a), low = c + fx * (d - c);
    store1(out, (top + fy * (low - top)) / scale_of<Out, In>());
}

template <int LANES, class In, class Out>
inline void blend(const In *v00, const In *v01, const In *v10, const In *v11, float fx, float fy, Out *out) {
    if (LANES == 4) blend4(v00, v01, v10, v11, fx, fy, out);
    else blend1(v00, v01, v10, v11, fx, fy, out);
}

// One row of output pixels, LANES channels side by side.
template <int BORDER, int LANES, class In, class Out>
void bilinear_row(const In *in, int32_t h, int32_t w, const float *xs, const float *ys, int32_t ow, Out *out) {
    const float most_x = (float)(w - 1), most_y = (float)(h - 1);
    const int32_t zero = h * w;
    for (int32_t from = 0; from < ow; from += BLOCK) {
        const int32_t to = from + BLOCK < ow ? from + BLOCK : ow;
        int outside = 0;
        for (int32_t j = from; j < to; ++j)
            outside |= !(xs[j] >= 0 && xs[j] < most_x && ys[j] >= 0 && ys[j] < most_y);
        if (!outside) {
            for (int32_t j = from; j < to; ++j) {
                const int32_t ix = (int32_t)xs[j], iy = (int32_t)ys[j];
                const In *p = in + ((int64_t)iy * w + ix) * LANES, *q = p + (int64_t)w * LANES;
                blend<LANES>(p, p + LANES, q, q + LANES, xs[j] - (float)ix, ys[j] - (float)iy, out + j * LANES);
            }
            continue;
        }
        for (int32_t j = from; j < to; ++j) {
            const float x = kept(xs[j]), y = kept(ys[j]), left = std::floor(x), top = std::floor(y);
            const int32_t ix = (int32_t)left, iy = (int32_t)top;
            const int32_t x0 = bordered<BORDER>(ix, w), x1 = bordered<BORDER>(ix + 1, w);
            const int32_t y0 = bordered<BORDER>(iy, h) * w, y1 = bordered<BORDER>(iy + 1, h) * w;
            int32_t o00 = y0 + x0, o01 = y0 + x1, o10 = y1 + x0, o11 = y1 + x1;
            if (BORDER == ZERO) {
                const bool l = ix >= 0 && ix < w, r = ix + 1 >= 0 && ix + 1 < w;
                const bool t = iy >= 0 && iy < h, b = iy + 1 >= 0 && iy + 1 < h;
                o00 = t && l ? o00 : zero;
                o01 = t && r ? o01 : zero;
                o10 = b && l ? o10 : zero;
                o11 = b && r ? o11 : zero;
            }
            blend<LANES>(in + (int64_t)o00 * LANES, in + (int64_t)o01 * LANES, in + (int64_t)o10 * LANES,
                in + (int64_t)o11 * LANES, x - left, y - top, out + j * LANES);
        }
    }
}

// Whole pixels, where they are.
template <int BORDER, class In>
void nearest_places(int32_t h, int32_t w, const float *xs, const float *ys, int32_t ow, int32_t *at) {
    for (int32_t j = 0; j < ow; ++j) {
        const int32_t ix = (int32_t)std::floor(kept(xs[j]) + 0.5f), iy = (int32_t)std::floor(kept(ys[j]) + 0.5f);
        const bool inside = ix >= 0 && ix < w && iy >= 0 && iy < h;
        at[j] = BORDER == ZERO && !inside ? -1 : bordered<BORDER>(iy, h) * w + bordered<BORDER>(ix, w);
    }
}

}  // namespace dashpot
