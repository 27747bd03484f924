// Updates and maps of groups one after the other: rows, blocks of rows, layers, heads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.h"
#include "roots.h"
#include "rules.h"

namespace dashpot {

// The sums over a group of w^2 t^k for k = 0 .. 3, of t only where ADAPTIVE.
template <bool ADAPTIVE, class S, class T>
inline void add_powers(S &s0, S &s1, S &s2, S &s3, T w, T t) {
    T q = w * w;
    s0.add(q);
    if (ADAPTIVE) {
        s1.add(q *= t);
        s2.add(q *= t);
        s3.add(q *= t);
    }
}

// Groups from .. to - 1, one by one.
template <class Rule, bool ADAPTIVE, Beside MORE>
void rows(const Job &job, int64_t from, int64_t to, std::vector<float> &scratch) {
    const Job j = job;  // a copy: stores through its pointers could change the caller's, for all the compiler knows
    const int64_t n = j.row, pitch = j.across * n, members = n * j.down;
    const bool apart = j.down > 1;
    if ((ADAPTIVE || apart) && (int64_t)scratch.size() < 2 * members) scratch.resize(2 * members);
    float *const t = scratch.data(), *const copy = t + members;
    for (int64_t group = from; group < to; ++group) {
        float *const p = j.p + group / j.across * (members * j.across) + group % j.across * n;
        const int64_t base = p - j.p;
        double sums[4] = {0, 0, 0, 0};
        for (int64_t d = 0; d < j.down; ++d)
            for (int64_t begin = 0; begin < n; begin += BLOCK) {
                Sum s0, s1, s2, s3;
                sweep(begin, std::min(begin + BLOCK, n), [&](int64_t i, auto kind) {
                    using T = decltype(kind);
                    T less;
                    const T w = moved<Rule, ADAPTIVE, MORE>(j, base + d * pitch + i, less);
                    store(apart ? copy + d * n + i : p + i, w);
                    if (ADAPTIVE) store(t + d * n + i, less);
                    add_powers<ADAPTIVE>(s0, s1, s2, s3, w, less);
                });
                sums[0] += s0.total();
                sums[1] += s1.total();
                sums[2] += s2.total();
                sums[3] += s3.total();
            }
        float *const w = apart ? copy : p;
        float r;
        if (ADAPTIVE) {
            const Start start = norm_start((float)sums[0], (float)sums[1], (float)sums[2], (float)sums[3]);
            r = start.found ? start.r : climb(w, t, members, start.r);
        } else {
            r = plain_factor((float)sums[0], j.step / (1.0f + j.step * j.l2) * j.lg);
        }
        for (int64_t d = 0; d < j.down; ++d)
            sweep(0, n, [&](int64_t i, auto kind) {
                using T = decltype(kind);
                const T here = T{} + r, factor
                    = ADAPTIVE ? quotient(here, at_least(here + load<T>(t + d * n + i), TINY)) : here;
                store(p + d * pitch + i, load<T>(w + d * n + i) * factor);
            });
    }
}

}  // namespace dashpot
