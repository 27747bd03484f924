// One pass over memory: the optimizer's update (or none) and the proximal map of
//     l1 * sum |w| + l2 / 2 * sum w^2 + lg * sum over rows |w_row|
// for a list of tensors. It must give what the Python functions beside it give, to float rounding; a test says so.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

// What one tensor needs; the layout is mirrored in native.py.
struct Job {
    float *p, *m, *v;
    const float *g;
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

constexpr int64_t CHUNK = 1 << 14;
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

// The root r of sum w^2 / (r + t)^2 = 1, climbing from the left; 0 if the row is to be zero.
// `square` is sum w^2, `tilted` is sum w^2 t, `twice` is sum w^2 t^2.
inline float norm_root(const float *__restrict w, const float *__restrict t, int64_t n, float square, float tilted, float twice) {
    constexpr float tiny = 1.17549435e-38f;
    if (std::isnan(square)) return square;
    // Not above the root, by Jensen's inequality; where it is positive the row lives.
    float mean = square > 0.0f ? tilted / square : 0.0f;
    float r = std::sqrt(square) - mean;
    // The root is above it by 3/2 of the thresholds' variance over the norm: in most steps below rounding, and nothing is left to solve.
    if (r > 0.0f && std::fabs(twice / square - mean * mean) < 1e-8f * r * r) return r;
    if (!(r > 0.0f)) {
        float inside = 0;
#pragma omp simd reduction(+ : inside)
        for (int64_t i = 0; i < n; ++i) {
            float q = w[i] / std::max(t[i], tiny);
            inside += q * q;
        }
        if (!(inside > 1.0f)) return 0.0f;
        r = 0.0f;
    }
    for (int k = 0; k < ROUNDS; ++k) {
        float g = 0, slope = 0;
#pragma omp simd reduction(+ : g, slope)
        for (int64_t i = 0; i < n; ++i) {
            float inverse = 1.0f / std::max(r + t[i], tiny);
            float q = w[i] * inverse;
            q *= q;
            g += q;
            slope += q * inverse;
        }
        float move = std::max(g * (std::sqrt(g) - 1.0f) / std::max(slope, tiny), 0.0f);
        r += move;
        if (move <= 1e-4f * r) break;  // Newton squares the error: what is left is below rounding
    }
    return r;
}

template <class Rule, bool ADAPTIVE, bool SHRINK>
void rows(const Job &j, int64_t from, int64_t to, std::vector<float> &scratch) {
    const int64_t n = j.row;
    float *__restrict p = j.p;
    if (ADAPTIVE && (int64_t)scratch.size() < n) scratch.resize(n);
    float *__restrict t = scratch.data();
    for (int64_t start = from; start < to; start += n) {
        // Two loops, since the compiler makes better code of each alone; a row stays in the first-level cache between them.
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
            float w, s;
            Rule::template one<ADAPTIVE>(j, start + i, w, s);
            float shrink = SHRINK ? 1.0f / (1.0f + s * j.l2) : 1.0f;
            p[start + i] = soft(w, s * j.l1) * shrink;
            if (ADAPTIVE) t[i] = s * shrink * j.lg;
        }
        float square = 0, tilted = 0, twice = 0;
#pragma omp simd reduction(+ : square, tilted, twice)
        for (int64_t i = 0; i < n; ++i) {
            float q = p[start + i] * p[start + i];
            square += q;
            if (ADAPTIVE) {
                q *= t[i];
                tilted += q;
                twice += q * t[i];
            }
        }
        if (ADAPTIVE) {
            float r = norm_root(p + start, t, n, square, tilted, twice);
            constexpr float tiny = 1.17549435e-38f;
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) p[start + i] *= r / std::max(r + t[i], tiny);
        } else {
            float factor = plain_factor(square, j.step / (1.0f + j.step * j.l2) * j.lg);
#pragma omp simd
            for (int64_t i = 0; i < n; ++i) p[start + i] *= factor;
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

struct Part {
    int64_t job, from, to;
};

template <class Work>
void run(const Job *jobs, int64_t count, int threads, Work work) {
    std::vector<Part> parts;
    int64_t total = 0;
    for (int64_t k = 0; k < count; ++k) {
        int64_t row = std::max<int64_t>(jobs[k].row, 1);
        int64_t length = std::max<int64_t>(CHUNK / row, 1) * row;
        for (int64_t from = 0; from < jobs[k].numel; from += length) parts.push_back({k, from, std::min(from + length, jobs[k].numel)});
        total += jobs[k].numel;
    }
    auto span = [&](size_t first, size_t last) {
        std::vector<float> scratch;
        for (size_t k = first; k < last; ++k) work(jobs[parts[k].job], parts[k].from, parts[k].to, scratch);
    };
    // A thread costs some 20 microseconds: not worth it for small models.
    if (threads <= 1 || total < (1 << 18)) {
        span(0, parts.size());
        return;
    }
    std::vector<std::thread> others;
    size_t first = 0;
    int64_t done = 0, goal = 0;
    std::vector<size_t> cuts;
    for (size_t k = 0; k < parts.size(); ++k) {
        done += parts[k].to - parts[k].from;
        goal = total * (int64_t)(cuts.size() + 1) / threads;
        if (done >= goal && (int)cuts.size() < threads - 1) cuts.push_back(k + 1);
    }
    for (size_t cut : cuts) {
        others.emplace_back(span, first, cut);
        first = cut;
    }
    span(first, parts.size());
    for (auto &other : others) other.join();
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

extern "C" int64_t dashpot_job_size() { return sizeof(Job); }
