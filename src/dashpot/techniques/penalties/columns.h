// Updates and maps of groups that lie side by side, many at a time: columns of a matrix, input channels, narrow blocks.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "lanes.h"
#include "roots.h"
#include "rules.h"

namespace dashpot {

// Runs at least this long are worth a loop of their own, as rows have it.
constexpr int64_t LONG = 64;

inline bool by_stripes(const Job &j) { return j.across > 1 && j.row < LONG; }

constexpr int64_t DOWN = 128;   // runs whose sums are taken in single precision
constexpr int64_t BROAD = 8192; // weights of a run: memory is read in long runs, and the sums stay in the cache
constexpr int64_t PAGE = 1024;  // weights: 4096 bytes
constexpr int64_t SEEN = 128;   // at least so many runs tell a guess of the root, where there are as many
constexpr int64_t CHUNK = 16;   // groups that are not parted, so that no line of the cache is, and the same columns are
                                // added together whatever the number of threads

// Chunks of groups side by side.
inline int64_t chunks(const Job &j) { return (j.across + CHUNK - 1) / CHUNK; }

struct Stripe {
    std::vector<float> sums, roots;
    std::vector<double> totals;
    std::vector<char> open;
    int64_t kept = 0;  // sums of a column
};

// Where the k-th of `kept` sums of column i stands: beside the others, for a cache has no room for many addresses a
// power of 2 apart.
inline int64_t place(int64_t i, int64_t k, int64_t kept) { return i / LANES * LANES * kept + k * LANES + i % LANES; }

template <class T>
inline void add_to(float *at, T x) { store(at, load<T>(at) + x); }

// Makes room for `kept` sums of each of n columns, and clears them.
inline void begin(Stripe &s, int64_t n, int64_t kept) {
    s.kept = kept;
    s.sums.assign((n + LANES - 1) / LANES * LANES * kept, 0.0f);
    s.totals.assign(s.sums.size(), 0.0);
}

// Adds the sums to the totals, and clears them.
inline void settle(Stripe &s) {
    for (size_t i = 0; i < s.sums.size(); ++i) s.totals[i] += s.sums[i];
    std::fill(s.sums.begin(), s.sums.end(), 0.0f);
}

// The k-th total of a group of `row` columns.
inline double total(const Stripe &s, int64_t k, int64_t group, int64_t row) {
    double whole = 0;
    for (int64_t i = group * row; i < (group + 1) * row; ++i) whole += s.totals[place(i, k, s.kept)];
    return whole;
}

// Guesses of the roots, once for each column: the norms before the update, from some of the runs.
inline void guess(const Job &j, Stripe &s, int64_t base, int64_t groups) {
    const int64_t row = j.row, n = groups * row, hop = std::max<int64_t>(j.down / SEEN, 1);
    int64_t seen = 0;
    begin(s, n, 1);
    for (int64_t d = hop / 2; d < j.down; d += hop, ++seen)
        sweep(0, n, [&](int64_t i, auto kind) {
            const auto w = load<decltype(kind)>(j.p + base + d * j.across * row + i);
            add_to(s.sums.data() + i, w * w);
        });
    settle(s);
    for (int64_t group = 0; group < groups; ++group) {
        const double c = std::sqrt(total(s, 0, group, row) * j.down / seen);
        std::fill_n(s.roots.begin() + group * row, row, c > 1e-15 && c < 1e15 ? (float)c : 1.0f);
    }
}

// The update of a run of n weights, from `base` on; adds to the sums of each weight's column what `start_near` or
// `plain_factor` takes.
template <class Rule, bool ADAPTIVE, Beside MORE>
inline void update(const Job &j, Stripe &s, int64_t base, int64_t n) {
    constexpr int64_t KEPT = ADAPTIVE ? 3 : 1;
    float *const sums = s.sums.data();
    const float *const near = s.roots.data();
    sweep(0, n, [&](int64_t i, auto kind) {
        using T = decltype(kind);
        T t, x{};
        T w = moved<Rule, ADAPTIVE, MORE>(j, base + i, t);
        store(j.p + base + i, w);
        if constexpr (ADAPTIVE) {
            const T c = load<T>(near + i), part = inverse(c + t);
            x = t * part;
            w *= c * part;
        }
        T q = w * w;
        for (int64_t k = 0; k < KEPT; ++k, q *= x) add_to(sums + place(i, k, KEPT), q);
    });
}

// Climbs with all groups that are open, side by side; the first weight of the stripe is at `base`.
inline void climb(const Job &j, Stripe &s, int64_t base, int64_t groups) {
    const int64_t row = j.row, n = groups * row, pitch = j.across * row;
    const float t = j.step * j.lg;
    for (int k = 0; k < ROUNDS; ++k) {
        std::vector<int64_t> blocks;  // of columns: those without an open group rest
        for (int64_t block = 0; block < n; block += LANES) {
            const auto last = s.open.begin() + (std::min(block + LANES, n) - 1) / row + 1;
            if (std::find(s.open.begin() + block / row, last, 1) != last) blocks.push_back(block);
        }
        if (blocks.empty()) break;
        begin(s, n, 2);
        for (int64_t d = 0; d < j.down; ++d) {  // in the order of memory, here too
            for (int64_t block : blocks)
                sweep(block, std::min(block + LANES, n), [&](int64_t i, auto kind) {
                    using T = decltype(kind);
                    const int64_t at = base + d * pitch + i;
                    const T r = load<T>(s.roots.data() + i), below = divisor<T>(j, at);
                    const T over = quotient(below, at_least(r * below + t, TINY));
                    T q = load<T>(j.p + at) * over;
                    q *= q;
                    add_to(s.sums.data() + place(i, 0, 2), q);
                    add_to(s.sums.data() + place(i, 1, 2), q * over);
                });
            if ((d + 1) % DOWN == 0 || d + 1 == j.down) settle(s);
        }
        for (int64_t group = 0; group < groups; ++group) {
            if (!s.open[group]) continue;
            const double whole = total(s, 0, group, row), steep = total(s, 1, group, row);
            float r = s.roots[group * row];
            const bool done = climbed(whole, steep, r) || k == ROUNDS - 1;
            if (done && r > 0.0f && is_rough(whole, steep, r))
                r = polished(row, j.down, pitch, r, j.p + base + group * row,
                    [&](int64_t i) { return t / divisor<float>(j, base + group * row + i); });
            s.open[group] = !done;
            std::fill_n(s.roots.begin() + group * row, row, r);
        }
    }
}

// The roots of the groups of a stripe (their factors where not ADAPTIVE), once for each column.
template <bool ADAPTIVE>
void find_roots(const Job &j, Stripe &s, int64_t base, int64_t groups) {
    const int64_t row = j.row;
    const float t = j.step / (1.0f + j.step * j.l2) * j.lg;
    for (int64_t group = 0; group < groups; ++group) {
        const double s0 = total(s, 0, group, row);
        Start start{0.0f, true};
        if (ADAPTIVE)
            start = start_near(s0, total(s, 1, group, row), total(s, 2, group, row), s.roots[group * row]);
        else
            start.r = plain_factor((float)s0, t);
        s.open[group] = !start.found;
        std::fill_n(s.roots.begin() + group * row, row, start.r);
    }
    if (ADAPTIVE) climb(j, s, base, groups);
}

// The groups of a stripe, `groups` side by side; the first weight is at `base`.
template <class Rule, bool ADAPTIVE, Beside MORE>
void columns(const Job &job, int64_t base, int64_t groups, Stripe &s) {
    const Job j = job;  // a copy: stores through its pointers could change the caller's, for all the compiler knows
    const int64_t pitch = j.across * j.row, n = groups * j.row;
    s.roots.resize(n);
    s.open.resize(groups);
    if (ADAPTIVE) guess(j, s, base, groups);
    begin(s, n, ADAPTIVE ? 3 : 1);
    for (int64_t d = 0; d < j.down; ++d) {  // in the order of memory
        update<Rule, ADAPTIVE, MORE>(j, s, base + d * pitch, n);
        if ((d + 1) % DOWN == 0 || d + 1 == j.down) settle(s);
    }
    find_roots<ADAPTIVE>(j, s, base, groups);
    const int64_t back = (PAGE + pitch - 1) / pitch * pitch;  // whole runs
    for (int64_t d = j.down - 1; d >= 0; --d)  // back: the last is still in the cache
        sweep(0, n, [&](int64_t i, auto kind) {
            using T = decltype(kind);
            const int64_t at = base + d * pitch + i;
            soon(j.p + at - back);
            if (ADAPTIVE) soon(j.v + at - back);
            T factor = load<T>(s.roots.data() + i);
            if constexpr (ADAPTIVE) {  // r / (r + t), with one division less
                const T scaled = factor * divisor<T>(j, at);
                factor = quotient(scaled, at_least(scaled + j.step * j.lg, TINY));
            }
            store(j.p + at, load<T>(j.p + at) * factor);
        });
}

// Chunks from .. to - 1, in stripes.
template <class Rule, bool ADAPTIVE, Beside MORE>
void columns(const Job &j, int64_t from, int64_t to, Stripe &s, int64_t each) {
    const int64_t most = std::max<int64_t>(BROAD / j.row / CHUNK, 1);
    while (from < to) {
        const int64_t slab = from / each, first = from % each, some = std::min({to - from, each - first, most});
        const int64_t begin = first * CHUNK, end = std::min((first + some) * CHUNK, j.across);
        columns<Rule, ADAPTIVE, MORE>(j, (slab * j.across * j.down + begin) * j.row, end - begin, s);
        from += some;
    }
}

}  // namespace dashpot
