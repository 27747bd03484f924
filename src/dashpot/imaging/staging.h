// Images whose channels lie side by side, four at a time or one: out of the memory that they come in, and into it.
#pragma once
#include <vector>

#include "lanes.h"
#include "planes.h"

namespace dashpot {

struct Steps {
    int64_t pixel, plane;  // from one to the next, in values
};

// One image of some channels, and two pixels of zeros behind it: of which one may be read for what is outside.
template <class L, class In>
void stage(const In *in, std::vector<typename L::Held> &values, int64_t channels, int64_t pixels, Steps step) {
    values.resize((pixels + 2) * L::COUNT);
    typename L::Held *to = values.data();
    if constexpr (L::COUNT == 1) {
        for (int64_t k = 0; k < pixels; ++k) to[k] = L::held(in[k * step.pixel]);
    } else if (channels == 3 && step.pixel == 1) {
        const In *a = in, *b = in + step.plane, *c = in + 2 * step.plane;
        for (int64_t k = woven(a, b, c, to, pixels); k < pixels; ++k) {
            to[4 * k] = L::held(a[k]);
            to[4 * k + 1] = L::held(b[k]);
            to[4 * k + 2] = L::held(c[k]);
            to[4 * k + 3] = 0;
        }
    } else if (channels == 3 && step.pixel == 3) {
        for (int64_t k = 0; k < pixels; ++k) {
            for (int64_t c = 0; c < 3; ++c) to[4 * k + c] = L::held(in[3 * k + c]);
            to[4 * k + 3] = 0;
        }
    } else {
        for (int64_t k = 0; k < pixels; ++k)
            for (int64_t c = 0; c < 4; ++c)
                to[4 * k + c] = c < channels ? L::held(in[k * step.pixel + c * step.plane]) : 0;
    }
    for (int64_t k = pixels * L::COUNT; k < (pixels + 2) * L::COUNT; ++k) to[k] = 0;
}

// The other way: one row into the output.
template <class L, class Out>
void unstage(const Out *row, Out *out, int64_t channels, int64_t pixels, Steps step) {
    if (L::COUNT == 1 && step.pixel == 1) {
        std::memcpy(out, row, pixels * sizeof(Out));
    } else if (channels == 3 && step.pixel == 1) {
        Out *a = out, *b = out + step.plane, *c = out + 2 * step.plane;
        for (int64_t k = parted(row, a, b, c, pixels); k < pixels; ++k) {
            a[k] = row[4 * k];
            b[k] = row[4 * k + 1];
            c[k] = row[4 * k + 2];
        }
    } else if (channels == 3 && step.pixel == 3) {
        for (int64_t k = 0; k < pixels; ++k)
            for (int64_t c = 0; c < 3; ++c) out[3 * k + c] = row[4 * k + c];
    } else {
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t k = 0; k < pixels; ++k) out[k * step.pixel + c * step.plane] = row[L::COUNT * k + c];
    }
}

}  // namespace dashpot
