// Products of small matrices on one thread, in float32 and with factors rounded to bfloat16, at close to what the
// processor can do. C [m, n] = A [m, k] B [k, n] (+ bias, or + C). B is packed into panels of some vectors' width; A is
// read where it lies.
#include <cstdint>
#include <cstring>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int WIDTH = 16, ROWS = 8;
#elif defined(__AVX__)
constexpr int WIDTH = 8, ROWS = 6;
#else
constexpr int WIDTH = 4, ROWS = 8;
#endif
typedef float Vec __attribute__((vector_size(4 * WIDTH), aligned(4)));
constexpr int64_t DEPTH = 256;  // of a block: its panel of B stays in the first-level cache

inline Vec load(const float *p) { return *reinterpret_cast<const Vec *>(p); }
inline void store(float *p, Vec v) { *reinterpret_cast<Vec *>(p) = v; }

// Element (row, k) of A at row * along + k if BY_ROWS, else at k * along + row.
template <int M, int N, bool BY_ROWS>
inline void tile(int64_t depth, const float *__restrict a, int64_t along, const float *__restrict panel,
    Vec (&sum)[M][N]) {
    for (int64_t k = 0; k < depth; ++k) {
        Vec b[N];
        for (int j = 0; j < N; ++j) b[j] = load(panel + (k * N + j) * WIDTH);
        for (int i = 0; i < M; ++i) {
            const float x = BY_ROWS ? a[i * along + k] : a[k * along + i];
            for (int j = 0; j < N; ++j) sum[i][j] += b[j] * x;
        }
    }
}

#if defined(__AVX512BF16__)
// The same on pairs of bfloat16 that follow each other in k: depth counts pairs.
template <int M, int N, bool BY_ROWS>
inline void tile(int64_t depth, const uint32_t *__restrict a, int64_t along, const uint32_t *__restrict panel,
    Vec (&sum)[M][N]) {
    for (int64_t k = 0; k < depth; ++k) {
        __m512i b[N];
        for (int j = 0; j < N; ++j) b[j] = _mm512_loadu_si512(panel + (k * N + j) * WIDTH);
        for (int i = 0; i < M; ++i) {
            const __m512i x = _mm512_set1_epi32((int)(BY_ROWS ? a[i * along + k] : a[k * along + i]));
            for (int j = 0; j < N; ++j) sum[i][j] = (Vec)_mm512_dpbf16_ps((__m512)sum[i][j], (__m512bh)x,
                (__m512bh)b[j]);
        }
    }
}
#endif

template <int M, int N, bool BY_ROWS, class T>
void block(int64_t depth, const T *a, int64_t along, const T *panel, float *c, int64_t n, int64_t columns,
    const float *start, bool add) {
    Vec sum[M][N];
    for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) sum[i][j] = start ? load(start + j * WIDTH) : Vec{};
    tile<M, N, BY_ROWS>(depth, a, along, panel, sum);
    if (columns == N * WIDTH) {
        for (int i = 0; i < M; ++i)
            for (int j = 0; j < N; ++j) {
                float *to = c + i * n + j * WIDTH;
                store(to, add ? load(to) + sum[i][j] : sum[i][j]);
            }
        return;
    }
    for (int i = 0; i < M; ++i)
        for (int64_t j = 0; j < columns; ++j) {
            const float value = sum[i][j / WIDTH][j % WIDTH];
            c[i * n + j] = add ? c[i * n + j] + value : value;
        }
}

template <int N, bool BY_ROWS, class T>
void strip(int64_t m, int64_t depth, const T *a, int64_t along, const T *panel, float *c, int64_t n, int64_t columns,
    const float *start, bool add) {
    int64_t i = 0;
    const int64_t next = BY_ROWS ? along : 1;
    for (; i + ROWS <= m; i += ROWS) block<ROWS, N, BY_ROWS>(depth, a + i * next, along, panel, c + i * n, n, columns,
        start, add);
    for (; i + 4 <= m; i += 4) block<4, N, BY_ROWS>(depth, a + i * next, along, panel, c + i * n, n, columns, start,
        add);
    for (; i < m; ++i) block<1, N, BY_ROWS>(depth, a + i * next, along, panel, c + i * n, n, columns, start, add);
}

template <class T>
// WIDTH x WIDTH: to[j * along + i] = from[i * across + j]
void transpose(const T *from, int64_t across, T *to, int64_t along) {
#if defined(__AVX512F__)
    static_assert(sizeof(T) == 4, "");
    __m512i r[16], t[16];
    for (int i = 0; i < 16; ++i) r[i] = _mm512_loadu_si512(from + i * across);
    for (int i = 0; i < 16; i += 2) t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]),
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; ++k) {
            r[i + 2 * k] = _mm512_unpacklo_epi64(t[i + k], t[i + k + 2]);
            r[i + 2 * k + 1] = _mm512_unpackhi_epi64(t[i + k], t[i + k + 2]);
        }
    for (int i = 0; i < 16; i += 8)
        for (int k = 0; k < 4; ++k) {
            t[i + k] = _mm512_shuffle_i32x4(r[i + k], r[i + k + 4], 0x88);
            t[i + k + 4] = _mm512_shuffle_i32x4(r[i + k], r[i + k + 4], 0xdd);
        }
    for (int k = 0; k < 8; ++k) {
        _mm512_storeu_si512(to + k * along, _mm512_shuffle_i32x4(t[k], t[k + 8], 0x88));
        _mm512_storeu_si512(to + (k + 8) * along, _mm512_shuffle_i32x4(t[k], t[k + 8], 0xdd));
    }
#else
    for (int i = 0; i < WIDTH; ++i)
        for (int j = 0; j < WIDTH; ++j) to[j * along + i] = from[i * across + j];
#endif
}

// A panel of B: [depth, wide] with zeros behind the last of `columns`. B (k, j) at j * along + k if BY_COLUMNS, else at
// k * along + j.
template <bool BY_COLUMNS, class T>
void pack(const T *b, int64_t along, int64_t depth, int64_t columns, int wide, T *panel) {
    if (!BY_COLUMNS) {
        for (int64_t k = 0; k < depth; ++k) {
            for (int64_t j = 0; j < columns; ++j) panel[k * wide + j] = b[k * along + j];
            for (int64_t j = columns; j < wide; ++j) panel[k * wide + j] = 0;
        }
        return;
    }
    int64_t j = 0;
    for (; j + WIDTH <= columns; j += WIDTH) {
        int64_t k = 0;
        for (; k + WIDTH <= depth; k += WIDTH) transpose(b + j * along + k, along, panel + k * wide + j, wide);
        for (; k < depth; ++k)
            for (int i = 0; i < WIDTH; ++i) panel[k * wide + j + i] = b[(j + i) * along + k];
    }
    for (; j < wide; ++j)
        for (int64_t k = 0; k < depth; ++k) panel[k * wide + j] = j < columns ? b[j * along + k] : T(0);
}

// Memory that begins at a cache line, grows and is never cleared.
template <class T>
struct Room {
    std::vector<T> held;
    T *data() { return reinterpret_cast<T *>((reinterpret_cast<uintptr_t>(held.data()) + 63) & ~uintptr_t(63)); }
    void resize(int64_t n) {
        if ((int64_t)held.size() < n + 64) held.resize(n + 64);
    }
};

struct Scratch {
    Room<float> panel, bias;
    Room<uint32_t> low, first, second;
};

template <bool BY_ROWS, bool BY_COLUMNS, class T>
void multiply(int64_t m, int64_t n, int64_t depth, const T *a, int64_t a_along, const T *b, int64_t b_along, float *c,
    const float *bias, bool add,
              Room<T> &panel, Room<float> &room) {
    panel.resize(DEPTH * 2 * WIDTH);
    room.resize(2 * WIDTH);
    float *start = room.data();
    for (int64_t j = 0; j < n;) {
        const int vectors = n - j > WIDTH ? 2 : 1;
        const int64_t columns = n - j < vectors * WIDTH ? n - j : vectors * WIDTH;
        if (bias)
            for (int64_t i = 0; i < 2 * WIDTH; ++i) start[i] = i < columns ? bias[j + i] : 0.0f;
        for (int64_t k = 0; k < depth; k += DEPTH) {
            const int64_t deep = depth - k < DEPTH ? depth - k : DEPTH;
            pack<BY_COLUMNS>(BY_COLUMNS ? b + j * b_along + k : b + k * b_along + j, b_along, deep, columns,
                vectors * WIDTH, panel.data());
            const T *from = BY_ROWS ? a + k : a + k * a_along;
            const float *begin = bias && k == 0 ? start : nullptr;
            if (vectors == 2) strip<2, BY_ROWS>(m, deep, from, a_along, panel.data(), c + j, n, columns, begin,
                add || k > 0);
            else strip<1, BY_ROWS>(m, deep, from, a_along, panel.data(), c + j, n, columns, begin, add || k > 0);
        }
        j += columns;
    }
}

inline uint32_t rounded(float x) {  // to bfloat16, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t even = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : even;
}

// Pairs along a row, or of two rows: [rows, columns / 2] or [rows / 2, columns]; what is missing is 0.
inline void pair_columns(const float *x, int64_t rows, int64_t columns, Room<uint32_t> &to) {
    const int64_t half = (columns + 1) / 2;
    to.resize(rows * half);
    for (int64_t i = 0; i < rows; ++i) {
        const float *from = x + i * columns;
        uint32_t *out = to.data() + i * half;
        int64_t j = 0;
#if defined(__AVX512BF16__)
        for (; j + 16 <= columns / 2; j += 16)
            _mm512_storeu_si512(out + j, (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 2 * j + 16),
                _mm512_loadu_ps(from + 2 * j)));
#endif
        for (; j < columns / 2; ++j) out[j] = rounded(from[2 * j]) | rounded(from[2 * j + 1]) << 16;
        if (columns % 2) out[half - 1] = rounded(from[columns - 1]);
    }
}

inline void pair_rows(const float *x, int64_t rows, int64_t columns, Room<uint32_t> &to) {
    to.resize((rows + 1) / 2 * columns);
    for (int64_t i = 0; i < rows; i += 2) {
        const float *first = x + i * columns, *second = first + columns;
        uint32_t *out = to.data() + i / 2 * columns;
        if (i + 1 < rows) {
            int64_t j = 0;
#if defined(__AVX512BF16__)
            for (; j + 16 <= columns; j += 16) {
                const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(first + j)));
                const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(second + j)));
                _mm512_storeu_si512(out + j, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
            }
#endif
            for (; j < columns; ++j) out[j] = rounded(first[j]) | rounded(second[j]) << 16;
        } else {
            for (int64_t j = 0; j < columns; ++j) out[j] = rounded(first[j]);
        }
    }
}

// y [m, outs] = x [m, ins] w^T + bias, with w [outs, ins].
inline void linear(const float *x, const float *w, const float *bias, float *y, int64_t m, int64_t ins, int64_t outs,
    bool low, Scratch &s) {
#if defined(__AVX512BF16__)
    if (low) {
        pair_columns(x, m, ins, s.first);
        pair_columns(w, outs, ins, s.second);
        const int64_t half = (ins + 1) / 2;
        return multiply<true, true>(m, outs, half, s.first.data(), half, s.second.data(), half, y, bias, false, s.low,
            s.bias);
    }
#endif
    (void)low;
    multiply<true, true>(m, outs, ins, x, ins, w, ins, y, bias, false, s.panel, s.bias);
}

// dx [m, ins] (+)= g [m, outs] w
inline void linear_input(const float *g, const float *w, float *dx, int64_t m, int64_t ins, int64_t outs, bool add,
    bool low, Scratch &s) {
#if defined(__AVX512BF16__)
    if (low) {
        pair_columns(g, m, outs, s.first);
        pair_rows(w, outs, ins, s.second);
        const int64_t half = (outs + 1) / 2;
        return multiply<true, false>(m, ins, half, s.first.data(), half, s.second.data(), ins, dx, nullptr, add, s.low,
            s.bias);
    }
#endif
    (void)low;
    multiply<true, false>(m, ins, outs, g, outs, w, ins, dx, nullptr, add, s.panel, s.bias);
}

// dw [outs, ins] = g^T [outs, m] x
inline void linear_weight(const float *g, const float *x, float *dw, int64_t m, int64_t ins, int64_t outs, bool low,
    Scratch &s) {
#if defined(__AVX512BF16__)
    if (low) {
        pair_rows(g, m, outs, s.first);
        pair_rows(x, m, ins, s.second);
        return multiply<false, false>(outs, ins, (m + 1) / 2, s.first.data(), outs, s.second.data(), ins, dw, nullptr,
            false, s.low, s.bias);
    }
#endif
    (void)low;
    multiply<false, false>(outs, ins, m, g, outs, x, ins, dw, nullptr, false, s.panel, s.bias);
}

}  // namespace
