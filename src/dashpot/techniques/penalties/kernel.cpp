// One pass over memory: the optimizer's update (or none) and the proximal map of
//     l1 * sum |w| + l2 / 2 * sum w^2 + lg * sum over rows |w_row|
// for a list of tensors. It must give what the Python functions beside it give, to float rounding; a test says so.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "../../core/pool.h"

namespace {

// What one tensor needs; the layout is mirrored in native.py.
struct Job {
    float *p, *m, *v;
    const float *g;
    float *count;                // the optimizer's count of steps, or null: the kernel adds 1
    int64_t numel, row;          // row: members of a group, 0 for none
    float keep;                  // 1 - lr * decoupled decay
    float blend, b2, w2;         // 1 - beta1, beta2, 1 - beta2
    float root, eps;             // 1 / sqrt(bias correction 2), eps
    float size;                  // lr / bias correction 1 (Adam), lr (SGD)
    float step;                  // the map's step: lr (times 1 / (sqrt(v_hat) + eps) where adaptive)
    float l1, l2, lg;
    float momentum, fresh, decay; // SGD: buffer = momentum * buffer + fresh * gradient; coupled decay
    int32_t nesterov, has_buffer;
};

constexpr int ROUNDS = 12;

// |w| - t, not below 0, with the sign of w; NaN stays NaN.
inline float soft(float w, float t) {
    float a = std::fabs(w) - t;
    return std::copysign(a < 0.0f ? 0.0f : a, w);
}

struct Adam {
    template <bool ADAPTIVE>
    static inline void one(const Job &j, int64_t i, float &w, float &s) {
        float g = j.g[i];
        float m = j.m[i] + j.blend * (g - j.m[i]);
        float v = j.b2 * j.v[i] + j.w2 * g * g;
        float inverse = 1.0f / (std::sqrt(v) * j.root + j.eps);
        j.m[i] = m;
        j.v[i] = v;
        w = j.p[i] * j.keep - j.size * m * inverse;
        s = ADAPTIVE ? j.step * inverse : j.step;
    }
};

template <bool BUFFER>
struct Sgd {
    template <bool ADAPTIVE>
    static inline void one(const Job &j, int64_t i, float &w, float &s) {
        float g = j.g[i] + j.decay * j.p[i];
        float d = g;
        if (BUFFER) {
            float b = j.momentum * j.m[i] + j.fresh * g;
            j.m[i] = b;
            d = j.nesterov ? g + j.momentum * b : b;
        }
        w = j.p[i] - j.size * d;
        s = j.step;
    }
};

// No update: the map alone, after an optimizer that is not ours.
struct Map {
    template <bool ADAPTIVE>
    static inline void one(const Job &j, int64_t i, float &w, float &s) {
        w = j.p[i];
        s = ADAPTIVE ? j.step / (std::sqrt(j.v[i]) * j.root + j.eps) : j.step;
    }
};

template <class Rule, bool ADAPTIVE, bool SHRINK>
void elements(const Job &j, int64_t from, int64_t to) {
    float *__restrict p = j.p;
#pragma omp simd
    for (int64_t i = from; i < to; ++i) {
        float w, s;
        Rule::template one<ADAPTIVE>(j, i, w, s);
        w = soft(w, s * j.l1);
        p[i] = SHRINK ? w / (1.0f + s * j.l2) : w;
    }
}

// The factor of each row where every weight has the same threshold t.
inline float plain_factor(float square, float t) {
    float norm = std::sqrt(square);
    if (std::isnan(norm)) return norm;
    return norm > t ? 1.0f - t / norm : 0.0f;
}

constexpr float TINY = 1.17549435e-38f;
constexpr int64_t BLOCK = 4096;  // members whose sum is taken in single precision: of millions it would lose digits

// One step of Newton's method as in `climb`, in double precision.
inline float polished(const float *__restrict w, const float *__restrict t, int64_t n, float r) {
    double g = 0, slope = 0;
#pragma omp simd reduction(+ : g, slope)
    for (int64_t i = 0; i < n; ++i) {
        double inverse = 1.0 / std::max((double)r + t[i], (double)TINY), q = w[i] * inverse;
        q *= q;
        g += q;
        slope += q * inverse;
    }
    return slope > 0.0 ? (float)std::max(r + g * (std::sqrt(g) - 1.0) / slope, 0.0) : r;
}

// The root r of sum w^2 / (r + t)^2 = 1, climbing from the left by Newton's method; 0 if the row is to be zero. `r` is
// not above the root.
inline float climb(const float *__restrict w, const float *__restrict t, int64_t n, float r) {
    if (!(r > 0.0f)) {
        double inside = 0;
        for (int64_t from = 0; from < n; from += BLOCK) {
            const int64_t to = std::min(from + BLOCK, n);
            float some = 0;
#pragma omp simd reduction(+ : some)
            for (int64_t i = from; i < to; ++i) {
                float q = w[i] / std::max(t[i], TINY);
                some += q * q;
            }
            inside += some;
        }
        if (!(inside > 1.0)) return 0.0f;
        r = 0.0f;
    }
    double whole = 0, steep = 0;
    for (int k = 0; k < ROUNDS; ++k) {
        whole = steep = 0;
        for (int64_t from = 0; from < n; from += BLOCK) {
            const int64_t to = std::min(from + BLOCK, n);
            float g = 0, slope = 0;
#pragma omp simd reduction(+ : g, slope)
            for (int64_t i = from; i < to; ++i) {
                float inverse = 1.0f / std::max(r + t[i], TINY);
                float q = w[i] * inverse;
                q *= q;
                g += q;
                slope += q * inverse;
            }
            whole += g;
            steep += slope;
        }
        float move = std::max((float)(whole * (std::sqrt(whole) - 1.0) / std::max(steep, (double)TINY)), 0.0f);
        r += move;
        if (move <= 1e-4f * r) break;  // Newton squares the error: what is left is below rounding
    }
    // Where a row has nearly gone, rounding in the sums is many times as large in the root.
    return whole > 8 * steep * r ? polished(w, t, n, r) : r;
}

// As above, from the sums over the row of w^2 t^k, k = 0 .. 3. With 1 / (r + t)^2 as a series in t / r, whose error is
// at most the first term left out, they tell the root of most rows to below the rounding of the sums, without another
// look at the row; and give the others a start that is nearly there.
inline float norm_root(const float *__restrict w, const float *__restrict t, int64_t n, float s0, float s1, float s2,
    float s3) {
    if (std::isnan(s0)) return s0;
    if (s0 == 0.0f) return climb(w, t, n, 0.0f);
    const float norm = std::sqrt(s0), whole = 1.0f / s0, a1 = s1 * whole, a2 = s2 * whole, a3 = s3 * whole;
    // Not above the root, by Jensen's inequality; where it is positive the row lives.
    float r = norm - a1;
    const float second = r + 1.5f * (a2 - a1 * a1) * norm * whole;
    if (r > 0.0f && a3 < 1e-7f * r * r * r) return second;
    if (r > 0.0f && a3 < 0.01f * r * r * r) {
        const float x = 1.0f / second, third
            = norm * std::sqrt(1.0f - x * (2.0f * a1 - x * (3.0f * a2 - x * 4.0f * a3)));
        // what the series leaves out, taken off: still not above the root
        r = std::max(r, third * (1.0f - 1e-6f) - 4.0f * a3 / (r * r));
    }
    return climb(w, t, n, r);
}

template <class Rule, bool ADAPTIVE, bool SHRINK>
void rows(const Job &job, int64_t from, int64_t to, std::vector<float> &scratch) {
    const Job j = job;  // a copy: stores through its pointers could change the caller's, for all the compiler knows
    const int64_t n = j.row;
    float *__restrict p = j.p;
    if (ADAPTIVE && (int64_t)scratch.size() < n) scratch.resize(n);
    float *__restrict t = scratch.data();
    for (int64_t start = from; start < to; start += n) {
        double sums[4] = {0, 0, 0, 0};  // of w^2 t^k
        for (int64_t begin = 0; begin < n; begin += BLOCK) {
            const int64_t end = std::min(begin + BLOCK, n);
            float s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
            for (int64_t i = begin; i < end; ++i) {
                float w, s;
                Rule::template one<ADAPTIVE>(j, start + i, w, s);
                float shrink = SHRINK ? 1.0f / (1.0f + s * j.l2) : 1.0f;
                w = soft(w, s * j.l1) * shrink;
                p[start + i] = w;
                if (ADAPTIVE) t[i] = s * shrink * j.lg;
                float q = w * w;
                s0 += q;
                if (ADAPTIVE) {
                    s1 += q *= t[i];
                    s2 += q *= t[i];
                    s3 += q *= t[i];
                }
            }
            sums[0] += s0;
            sums[1] += s1;
            sums[2] += s2;
            sums[3] += s3;
        }
        const float square = (float)sums[0];
        float r = ADAPTIVE ? norm_root(p + start, t, n, square, (float)sums[1], (float)sums[2], (float)sums[3])
                           : plain_factor(square, j.step / (1.0f + j.step * j.l2) * j.lg);
        if (ADAPTIVE) {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) p[start + i] *= r / std::max(r + t[i], TINY);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) p[start + i] *= r;
        }
    }
}

template <class Rule, bool ADAPTIVE>
void part(const Job &j, int64_t from, int64_t to, std::vector<float> &scratch) {
    if (j.row && j.l2 != 0.0f) rows<Rule, ADAPTIVE, true>(j, from, to, scratch);
    else if (j.row) rows<Rule, ADAPTIVE, false>(j, from, to, scratch);
    else if (j.l2 != 0.0f) elements<Rule, ADAPTIVE, true>(j, from, to);
    else elements<Rule, ADAPTIVE, false>(j, from, to);
}

// Jobs side by side: all weights are cut into as many spans as there are threads, the same at each step, so that a
// thread finds what it wrote in its cache.
template <class Work>
void run(const Job *jobs, int64_t count, int threads, Work work) {
    int64_t total = 0;
    for (int64_t k = 0; k < count; ++k) {
        total += jobs[k].numel;
        if (jobs[k].count) *jobs[k].count += 1.0f;
    }
    // Waking a thread takes microseconds: not worth it for small models.
    if (total < (1 << 16)) threads = 1;
    dashpot::parallel(threads, [&](int k, int n) {
        std::vector<float> scratch;
        int64_t first = total * k / n, last = total * (k + 1) / n, start = 0;
        for (int64_t i = 0; i < count && start < last; start += jobs[i++].numel) {
            const Job &j = jobs[i];
            // Rows and lines of the cache are not cut: the one at a border is the earlier thread's.
            const int64_t row = j.row ? j.row : 16;
            auto edge = [&](int64_t at) { return std::clamp<int64_t>((at - start + row - 1) / row * row, 0, j.numel); };
            int64_t from = first <= start ? 0 : edge(first), to = last >= start + j.numel ? j.numel : edge(last);
            if (from < to) work(j, from, to, scratch);
        }
    });
}

}  // namespace

extern "C" void dashpot_adam(const Job *jobs, int64_t count, int adaptive, int threads) {
    run(jobs, count, threads, [adaptive](const Job &j, int64_t from, int64_t to, std::vector<float> &scratch) {
        adaptive ? part<Adam, true>(j, from, to, scratch) : part<Adam, false>(j, from, to, scratch);
    });
}

extern "C" void dashpot_sgd(const Job *jobs, int64_t count, int adaptive, int threads) {
    (void)adaptive;  // the step is one number, and is in the job
    run(jobs, count, threads, [](const Job &j, int64_t from, int64_t to, std::vector<float> &scratch) {
        j.has_buffer ? part<Sgd<true>, false>(j, from, to, scratch) : part<Sgd<false>, false>(j, from, to, scratch);
    });
}

extern "C" void dashpot_map(const Job *jobs, int64_t count, int adaptive, int threads) {
    run(jobs, count, threads, [adaptive](const Job &j, int64_t from, int64_t to, std::vector<float> &scratch) {
        adaptive ? part<Map, true>(j, from, to, scratch) : part<Map, false>(j, from, to, scratch);
    });
}

// The threads that the OpenMP runtime would start, 0 without one: what torch.set_num_threads says, if it is torch's.
extern "C" int dashpot_pool() { return dashpot::OpenMP::get().usable() ? dashpot::OpenMP::get().most() : 0; }

// The size of the OpenMP team that `parallel` has work for `threads` done by: 1 if it started threads of its own
// although there is a runtime, 0 without one.
extern "C" int dashpot_team(int threads) {
    int found = 0;
    dashpot::parallel(threads, [&](int k, int) {
        if (k == 0 && dashpot::OpenMP::get().usable()) found = dashpot::OpenMP::get().team();
    });
    return found;
}

extern "C" int64_t dashpot_job_size() { return sizeof(Job); }
