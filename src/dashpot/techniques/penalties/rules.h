// What one tensor needs, and the optimizers' updates of one weight, or several.
#pragma once
#include <cstdint>

#include "lanes.h"

namespace dashpot {

// The layout is mirrored in native.py.
struct Job {
    float *p, *m, *v;
    const float *g;
    float *count;                // the optimizer's count of steps, or null: the kernel adds 1
    int64_t numel;
    // Groups: `down` runs of `row` consecutive weights each; the runs of `across` groups lie side by side. Rows of a
    // matrix have across = down = 1, its columns row = 1. Without groups all are 0.
    int64_t row, across, down;
    float keep;                  // 1 - lr * decoupled decay
    float blend, b2, w2;         // 1 - beta1, beta2, 1 - beta2
    float root, eps;             // 1 / sqrt(bias correction 2), eps
    float size;                  // lr / bias correction 1 (Adam), lr (SGD)
    float step;                  // the map's step: lr (times 1 / (sqrt(v_hat) + eps) where adaptive)
    float l1, l2, lg;
    float momentum, fresh, decay; // SGD: buffer = momentum * buffer + fresh * gradient; coupled decay
    int32_t nesterov, has_buffer;
};

constexpr int64_t AHEAD = 256;  // weights: far enough for memory to answer, and little of the cache

// Each gives the weight w after the update, and the step s of its map.
struct Adam {
    template <bool ADAPTIVE, class T>
    static inline void one(const Job &j, int64_t i, T &w, T &s) {
        soon(j.p + i + AHEAD);
        soon(j.m + i + AHEAD);
        soon(j.v + i + AHEAD);
        soon(j.g + i + AHEAD);
        const T g = load<T>(j.g + i);
        T m = load<T>(j.m + i), v = load<T>(j.v + i);
        m += j.blend * (g - m);
        v = j.b2 * v + j.w2 * g * g;
        store(j.m + i, m);
        store(j.v + i, v);
        const T over = inverse(root(v) * j.root + j.eps);
        w = load<T>(j.p + i) * j.keep - j.size * m * over;
        s = ADAPTIVE ? j.step * over : T{} + j.step;
    }
};

template <bool BUFFER>
struct Sgd {
    template <bool ADAPTIVE, class T>
    static inline void one(const Job &j, int64_t i, T &w, T &s) {
        const T p = load<T>(j.p + i), g = load<T>(j.g + i) + j.decay * p;
        T d = g;
        if (BUFFER) {
            const T b = j.momentum * load<T>(j.m + i) + j.fresh * g;
            store(j.m + i, b);
            d = j.nesterov ? g + j.momentum * b : b;
        }
        w = p - j.size * d;
        s = T{} + j.step;
    }
};

// No update: the map alone, after an optimizer that is not ours.
struct Map {
    template <bool ADAPTIVE, class T>
    static inline void one(const Job &j, int64_t i, T &w, T &s) {
        w = load<T>(j.p + i);
        s = ADAPTIVE ? j.step * inverse(root(load<T>(j.v + i)) * j.root + j.eps) : T{} + j.step;
    }
};

// What the penalty has beside its groups: nothing, L1, or L1 and L2.
enum Beside { NOTHING, SOFT, SHRINK };

// The update, the soft threshold and the shrinking of L2; t is the threshold of the group.
template <class Rule, bool ADAPTIVE, Beside MORE, class T>
inline T moved(const Job &j, int64_t i, T &t) {
    T w, s;
    Rule::template one<ADAPTIVE>(j, i, w, s);
    if (MORE >= SOFT) w = soft(w, s * j.l1);
    if (MORE == SHRINK) {
        const T more = 1.0f + s * j.l2;
        w = quotient(w, more);
        s = quotient(s, more);
    }
    t = s * j.lg;
    return w;
}

// After the update, from Adam's second moment: the same threshold is step * lg / divisor. Finite even where v is not.
template <class T>
inline T divisor(const Job &j, int64_t i) {
    return at_most(root(load<T>(j.v + i)), BIG) * j.root + (j.eps + j.step * j.l2);
}

}  // namespace dashpot
