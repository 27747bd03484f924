// What stands at a table network's input: embeddings of numbers and of one-hot blocks. Each reads a range of the input's columns and writes a range of the
// joined columns; rows lie `along` floats apart. Inputs get no gradient. The plain twins are in nets/numeric.py and nets/layers.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct Rows {
    const float *x;      // [n, features], rows x_along apart
    int64_t x_along;
    int64_t y_along;     // of the outputs, and of their gradients
    int64_t n, features, count, made;  // count: bins, or waves; made: outputs of each column but itself
};

// The bin that x is in and how far it has come through it; without width not at all.
inline int64_t bin_of(const float *edges, int64_t bins, float x, float &way) {
    int32_t k = 0;
#pragma omp simd reduction(+ : k)
    for (int64_t j = 1; j < bins; ++j) k += x >= edges[j];
    const float width = edges[k + 1] - edges[k];
    way = width > 0.0f ? std::min(std::max((x - edges[k]) / width, 0.0f), 1.0f) : 0.0f;
    return k;
}

// M: made where it is known, else 0. before [features, bins, made]: room for what a value has from bias and the bins before its own.
// ways, places [n, features]: kept for the way back.
template <int M>
void piecewise(const Rows &r, const float *edges, const float *w, const float *bias, float *y, float *before, float *ways, float *places) {
    const int64_t made = M ? M : r.made, bins = r.count;
    for (int64_t f = 0; f < r.features; ++f)
        for (int64_t s = 0; s < made; ++s) {
            float sum = bias[f * made + s];
            for (int64_t j = 0; j < bins; ++j) {
                const int64_t at = (f * bins + j) * made + s;
                before[at] = sum;
                if (edges[f * (bins + 1) + j + 1] > edges[f * (bins + 1) + j]) sum += w[at];
            }
        }
    for (int64_t i = 0; i < r.n; ++i)
        for (int64_t f = 0; f < r.features; ++f) {
            const float x = r.x[i * r.x_along + f];
            float way;
            const int64_t at = (f * bins + bin_of(edges + f * (bins + 1), bins, x, way)) * made;
            float *out = y + i * r.y_along + f * (made + 1);
            out[0] = x;
            for (int64_t s = 0; s < made; ++s) out[1 + s] = before[at + s] + way * w[at + s];
            ways[i * r.features + f] = way;
            const int32_t place = (int32_t)at;
            std::memcpy(places + i * r.features + f, &place, 4);
        }
}

// inside [features, bins, made]: room for the gradients of all values in a bin.
template <int M>
void piecewise_back(const Rows &r, const float *edges, const float *g, float *dw, float *dbias, float *inside, const float *ways, const float *places) {
    const int64_t made = M ? M : r.made, bins = r.count, all = r.features * bins * made;
    std::fill(dw, dw + all, 0.0f);
    std::fill(inside, inside + all, 0.0f);
    for (int64_t i = 0; i < r.n; ++i)
        for (int64_t f = 0; f < r.features; ++f) {
            const float way = ways[i * r.features + f], *own = g + i * r.y_along + f * (made + 1) + 1;
            int32_t at;
            std::memcpy(&at, places + i * r.features + f, 4);
            for (int64_t s = 0; s < made; ++s) {
                inside[at + s] += own[s];
                dw[at + s] += way * own[s];
            }
        }
    for (int64_t f = 0; f < r.features; ++f)
        for (int64_t s = 0; s < made; ++s) {
            float beyond = 0;  // of the values that have come through bin j
            for (int64_t j = bins - 1; j >= 0; --j) {
                const int64_t at = (f * bins + j) * made + s;
                if (edges[f * (bins + 1) + j + 1] > edges[f * (bins + 1) + j]) dw[at] += beyond;
                beyond += inside[at];
            }
            dbias[f * made + s] = beyond;
        }
}

}  // namespace
