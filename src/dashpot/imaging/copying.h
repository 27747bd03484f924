// Flips, crops and whole moves: rows are copied as they are, bit for bit.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "pixels.h"
#include "streaming.h"

namespace dashpot {

// out[j] = in[first + sign * j], both in steps of one pixel of `width` values.
template <class In, class Out>
inline void run(const In *in, Out *out, int64_t first, int64_t sign, int64_t from, int64_t to, int64_t width) {
    if (to <= from) return;
    if (sign > 0) {
        const In *source = in + (first + from) * width;
        Out *target = out + from * width;
        const int64_t count = (to - from) * width;
        if (sizeof(In) == sizeof(Out)) std::memcpy(target, source, count * sizeof(In));
        else
            for (int64_t k = 0; k < count; ++k) put(target + k, source[k]);
    } else if (width == 1) {
        const In *source = in + first;
        for (int64_t j = from; j < to; ++j) put(out + j, source[-j]);
    } else if (width == 3) {
        for (int64_t j = from; j < to; ++j)
            for (int64_t k = 0; k < 3; ++k) put(out + j * 3 + k, in[(first - j) * 3 + k]);
    } else {
        for (int64_t j = from; j < to; ++j)
            for (int64_t k = 0; k < width; ++k) put(out + j * width + k, in[(first - j) * width + k]);
    }
}

struct Moves {
    int64_t sign_x, at_x, sign_y, at_y;
};

// Row i of a plane: `from` to `to` is the part that comes from inside.
template <int BORDER, class In, class Out>
inline void moved(const In *plane, Out *row, const Moves &m, int64_t i, int64_t width, int64_t h, int64_t w,
    int64_t from, int64_t to, int64_t ow) {
    const int64_t y = m.sign_y * i + m.at_y;
    if (BORDER == ZERO && (y < 0 || y >= h)) {
        std::fill(row, row + ow * width, Out(0));
        return;
    }
    const In *source = plane + bordered<BORDER>((int32_t)y, (int32_t)h) * w * width;
    run(source, row, m.at_x, m.sign_x, from, to, width);
    for (const auto &part : {std::pair<int64_t, int64_t>{0, from}, {to, ow}})
        for (int64_t j = part.first; j < part.second; ++j) {
            const int64_t x = bordered<BORDER>((int32_t)(m.sign_x * j + m.at_x), (int32_t)w);
            for (int64_t k = 0; k < width; ++k) {
                if (BORDER == ZERO) row[j * width + k] = Out(0);
                else put(row + j * width + k, source[x * width + k]);
            }
        }
}

// One image: `planes` pictures of [height, pixels of `width` values]; past the caches where `large`.
template <int BORDER, class In, class Out>
void copied(const In *in, Out *out, const Moves &m, int64_t planes, int64_t width, int64_t h, int64_t w, int64_t oh,
    int64_t ow, bool large) {
    if (m.sign_x > 0 && m.sign_y > 0 && !m.at_x && !m.at_y && h == oh && w == ow) {
        if (!large || sizeof(In) != sizeof(Out)) return run(in, out, 0, 1, 0, planes * h * w, width);
        stream(in, out, planes * h * w * width * sizeof(Out));
        return settle();
    }
    int64_t from = m.sign_x > 0 ? -m.at_x : m.at_x - (w - 1), to = m.sign_x > 0 ? w - m.at_x : m.at_x + 1;
    from = std::min(std::max<int64_t>(from, 0), ow);
    to = std::max(std::min(to, ow), from);
    std::vector<Out> line(large ? ow * width : 0);
    for (int64_t plane = 0; plane < planes; ++plane)
        for (int64_t i = 0; i < oh; ++i) {
            const In *source = in + plane * h * w * width;
            Out *row = out + (plane * oh + i) * ow * width;
            if (!large) {
                moved<BORDER>(source, row, m, i, width, h, w, from, to, ow);
                continue;
            }
            const int64_t later = m.sign_y * (i + 2) + m.at_y;
            if (later >= 0 && later < h) expect(source + later * w * width, w * width * sizeof(In));
            moved<BORDER>(source, line.data(), m, i, width, h, w, from, to, ow);
            stream(line.data(), row, ow * width * sizeof(Out));
        }
    if (large) settle();
}

}  // namespace dashpot
