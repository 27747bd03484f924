// What stands at a table network's input: embeddings of numbers and of one-hot blocks. Each reads a range of the
// input's columns and writes a range of the joined columns; rows lie `along` floats apart. Inputs get no gradient. The
// plain twins are in nets/numeric.py and nets/layers.py.
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

// Rows are taken so many at a time, one in each lane of a vector: then nothing has to be summed across a vector.
constexpr int64_t LANES = 16;

// Column f of LANES rows from row i on; 0 behind the last.
inline void column_of(const Rows &r, int64_t i, int64_t f, float (&x)[LANES]) {
    const float *from = r.x + i * r.x_along + f;
    if (i + LANES <= r.n) {
        for (int64_t l = 0; l < LANES; ++l) x[l] = from[l * r.x_along];
    } else {
        for (int64_t l = 0; l < LANES; ++l) x[l] = i + l < r.n ? from[l * r.x_along] : 0.0f;
    }
}

// The bin that each x is in and how far it has come through it; without width not at all.
inline void bins_of(const float *edges, int64_t bins, const float (&x)[LANES], int32_t (&bin)[LANES],
    float (&way)[LANES]) {
    for (int64_t l = 0; l < LANES; ++l) bin[l] = 0;
    for (int64_t j = 1; j < bins; ++j) {
        const float edge = edges[j];
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) bin[l] += x[l] >= edge ? 1 : 0;
    }
    for (int64_t l = 0; l < LANES; ++l) {
        const float low = edges[bin[l]], width = edges[bin[l] + 1] - low;
        way[l] = width > 0.0f ? std::min(std::max((x[l] - low) / width, 0.0f), 1.0f) : 0.0f;
    }
}

// M: made where it is known, else 0. before [features, bins, made]: room for what a value has from bias and the bins
// before its own. ways, places [n, features]: kept for the way back.
template <int M>
void piecewise(const Rows &r, const float *edges, const float *w, const float *bias, float *y, float *before,
    float *ways, float *places) {
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
    for (int64_t i = 0; i < r.n; i += LANES)
        for (int64_t f = 0; f < r.features; ++f) {
            float x[LANES], way[LANES];
            int32_t bin[LANES];
            column_of(r, i, f, x);
            bins_of(edges + f * (bins + 1), bins, x, bin, way);
            for (int64_t l = 0; l < std::min(LANES, r.n - i); ++l) {
                const int64_t at = (f * bins + bin[l]) * made;
                float *out = y + (i + l) * r.y_along + f * (made + 1);
                out[0] = x[l];
                for (int64_t s = 0; s < made; ++s) out[1 + s] = before[at + s] + way[l] * w[at + s];
                ways[(i + l) * r.features + f] = way[l];
                const int32_t place = (int32_t)at;
                std::memcpy(places + (i + l) * r.features + f, &place, 4);
            }
        }
}

// inside [features, bins, made]: room for the gradients of all values in a bin.
template <int M>
void piecewise_back(const Rows &r, const float *edges, const float *g, float *dw, float *dbias, float *inside,
    const float *ways, const float *places) {
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

// Cosine and sine of 2 pi t, to about 1e-7.
inline void wave(float t, float &cosine, float &sine) {
    const float r = t - std::nearbyint(t);                      // -1/2 to 1/2
    const float q = r - 0.25f * std::nearbyint(4.0f * r);       // -1/8 to 1/8
    const float u = 6.28318530718f * q, v = u * u;
    const float s = u * (1.0f + v * (-1.6666666667e-1f + v * (8.3333333333e-3f + v * (-1.9841269841e-4f
        + v * 2.7557319224e-6f))));
    const float c = 1.0f + v * (-0.5f + v * (4.1666666667e-2f + v * (-1.3888888889e-3f + v * 2.4801587302e-5f)));
    const float turns = std::nearbyint(4.0f * r);               // -2 to 2 quarters
    const bool odd = std::fabs(turns) == 1.0f;
    const float a = odd ? s : c, b = odd ? c : s;
    cosine = turns == 1.0f || std::fabs(turns) == 2.0f ? -a : a;
    sine = turns == -1.0f || std::fabs(turns) == 2.0f ? -b : b;
}

struct Waves {
    const float *frequency, *phase;  // [features, waves]
    const float *w, *bias;           // [features, waves, made] and [features, made]
};

// M: made where it is known, else 0. room: [made, LANES].
template <int M>
void periodic(const Rows &r, const Waves &p, float *y, float *room) {
    const int64_t made = M ? M : r.made, waves = r.count;
    float fixed[(M ? M : 1) * LANES], *sum = M ? fixed : room;
    for (int64_t i = 0; i < r.n; i += LANES)
        for (int64_t f = 0; f < r.features; ++f) {
            float x[LANES];
            column_of(r, i, f, x);
            for (int64_t s = 0; s < made; ++s)
                for (int64_t l = 0; l < LANES; ++l) sum[s * LANES + l] = p.bias[f * made + s];
            for (int64_t k = 0; k < waves; ++k) {
                const float frequency = p.frequency[f * waves + k], phase = p.phase[f * waves + k],
                    *w = p.w + (f * waves + k) * made;
#pragma omp simd
                for (int64_t l = 0; l < LANES; ++l) {
                    float cosine, sine;
                    wave(x[l] * frequency + phase, cosine, sine);
                    for (int64_t s = 0; s < made; ++s) sum[s * LANES + l] += w[s] * cosine;
                }
            }
            for (int64_t l = 0; l < std::min(LANES, r.n - i); ++l) {
                float *out = y + (i + l) * r.y_along + f * (made + 1);
                out[0] = x[l];
                for (int64_t s = 0; s < made; ++s) out[1 + s] = sum[s * LANES + l];
            }
        }
}

// room: turned and its gradient, both [features, made, waves], and two of waves.
inline void periodic_back(const Rows &r, const Waves &p, const float *g, float *dfrequency, float *dphase, float *dw,
    float *dbias, float *room) {
    const int64_t made = r.made, waves = r.count, all = r.features * made * waves;
    float *turned = room, *dturned = turned + all, *cosine = dturned + all, *slope = cosine + waves;
    for (int64_t f = 0; f < r.features; ++f)
        for (int64_t k = 0; k < waves; ++k)
            for (int64_t s = 0; s < made; ++s) turned[(f * made + s) * waves + k] = p.w[(f * waves + k) * made + s];
    std::fill(dturned, dturned + all, 0.0f);
    std::fill(dfrequency, dfrequency + r.features * waves, 0.0f);
    std::fill(dphase, dphase + r.features * waves, 0.0f);
    std::fill(dbias, dbias + r.features * made, 0.0f);
    for (int64_t i = 0; i < r.n; ++i)
        for (int64_t f = 0; f < r.features; ++f) {
            const float x = r.x[i * r.x_along + f], *frequency = p.frequency + f * waves, *phase = p.phase + f * waves;
            const float *own = g + i * r.y_along + f * (made + 1) + 1;
            float *df = dfrequency + f * waves, *dp = dphase + f * waves;
#pragma omp simd
            for (int64_t k = 0; k < waves; ++k) {
                float sine;
                wave(x * frequency[k] + phase[k], cosine[k], sine);
                slope[k] = -6.28318530718f * sine;
            }
            for (int64_t s = 0; s < made; ++s) {
                const float *w = turned + (f * made + s) * waves, d = own[s];
                float *to = dturned + (f * made + s) * waves;
                dbias[f * made + s] += d;
#pragma omp simd
                for (int64_t k = 0; k < waves; ++k) {
                    to[k] += d * cosine[k];
                    const float along = d * w[k] * slope[k];
                    dp[k] += along;
                    df[k] += along * x;
                }
            }
        }
    for (int64_t f = 0; f < r.features; ++f)
        for (int64_t k = 0; k < waves; ++k)
            for (int64_t s = 0; s < made; ++s) dw[(f * waves + k) * made + s] = dturned[(f * made + s) * waves + k];
}

// A one-hot block, or a blend of some, times w [levels, size]: most of it is 0.
inline void nominal(const float *x, int64_t x_along, int64_t n, int64_t levels, int64_t size, const float *w, float *y,
    int64_t y_along) {
    for (int64_t i = 0; i < n; ++i, x += x_along, y += y_along) {
        std::fill(y, y + size, 0.0f);
        for (int64_t j = 0; j < levels; ++j)
            if (x[j] != 0.0f)
                for (int64_t s = 0; s < size; ++s) y[s] += x[j] * w[j * size + s];
    }
}

inline void nominal_back(const float *x, int64_t x_along, int64_t n, int64_t levels, int64_t size, const float *g,
    int64_t g_along, float *dw) {
    std::fill(dw, dw + levels * size, 0.0f);
    for (int64_t i = 0; i < n; ++i, x += x_along, g += g_along)
        for (int64_t j = 0; j < levels; ++j)
            if (x[j] != 0.0f)
                for (int64_t s = 0; s < size; ++s) dw[j * size + s] += x[j] * g[s];
}

}  // namespace
