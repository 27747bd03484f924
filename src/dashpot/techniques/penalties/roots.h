// The norm that a group has after its map: with one step per weight the root r of sum w^2 / (r + t)^2 = 1.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "lanes.h"

namespace dashpot {

constexpr int ROUNDS = 12;
constexpr int64_t BLOCK = 4096;  // members whose sum is taken in single precision: of millions it would lose digits

// The factor of each group where every weight has the same threshold t.
inline float plain_factor(float square, float t) {
    const float norm = std::sqrt(square);
    if (std::isnan(norm)) return norm;
    return norm > t ? 1.0f - t / norm : 0.0f;
}

// Where a root is sought: not above it, and whether it is that already.
struct Start {
    float r;
    bool found;
};

// From the sums over the group of w^2 t^k, k = 0 .. 3. With 1 / (r + t)^2 as a series in t / r, whose error is at most
// the first term left out, they tell the root of most groups to below the rounding of the sums, without another look at
// the group; and give the others a start that is nearly there.
inline Start norm_start(float s0, float s1, float s2, float s3) {
    if (std::isnan(s0)) return {s0, true};
    if (s0 == 0.0f) return {0.0f, false};
    const float norm = std::sqrt(s0), whole = 1.0f / s0, a1 = s1 * whole, a2 = s2 * whole, a3 = s3 * whole;
    // Not above the root, by Jensen's inequality; where it is positive the group lives.
    const float r = norm - a1, cube = r * r * r;
    if (!(r > 0.0f)) return {0.0f, false};
    const float second = r + 1.5f * (a2 - a1 * a1) * norm * whole;
    if (a3 < 1e-7f * cube) return {second, true};
    if (!(a3 < 0.01f * cube)) return {r, false};
    const float x = 1.0f / second, third = norm * std::sqrt(1.0f - x * (2.0f * a1 - x * (3.0f * a2 - x * 4.0f * a3)));
    // what the series leaves out, taken off: still not above the root
    return {std::max(r, third * (1.0f - 1e-6f) - 4.0f * a3 / (r * r)), false};
}

// The same from a guess c > 0 of the root, and the sums over the group of w^2 y^2 x^k, k = 0 .. 2, with y = c / (c + t)
// and x = t / (c + t): w^2 / (r + t)^2 = w^2 y^2 / r^2 / (1 + z x)^2 with z = c / r - 1, as a series in z x. However
// large a few thresholds are, x stays below 1; so a guess that is only near tells the root of most groups.
inline Start start_near(double s0, double s1, double s2, float c) {
    if (std::isnan(s0)) return {(float)s0, true};
    if (s0 == 0.0) return {0.0f, true};
    if (!(s1 < 0.9 * s0)) return {0.0f, false};  // s0 - s1 would be rounding
    // A step of Newton's method from c, for a concave function: not above the root.
    const double newton = c + s0 * (std::sqrt(s0) - c) / (s0 - s1);
    if (!(newton > 0.0)) return {0.0f, false};
    double r = newton, z = 0;
    for (int k = 0; k < 2; ++k) {
        z = c / r - 1.0;
        r = std::sqrt(s0 - z * (2.0 * s1 - 3.0 * z * s2));
    }
    // below rounding: the first term left out, and what is left of the error of `newton`
    if (z > -0.25 && std::fabs(z * z * z) * s2 < 2e-8 * s0 && s1 < 0.01 * s0) return {(float)r, true};
    return {(float)(newton * (1.0 - 1e-6)), false};
}

// One step of Newton's method for r, which climbs from the left and cannot overshoot, from the sums of q and
// q / (r + t) with q = w^2 / (r + t)^2. At r = 0 they say whether there is a root; the group is zero if not. Whether r
// is the root now: Newton squares the error, and what is left is below rounding.
inline bool climbed(double whole, double steep, float &r) {
    if (r == 0.0f && !(whole > 1.0)) return true;
    const float move = std::max((float)(whole * (std::sqrt(whole) - 1.0) / std::max(steep, (double)TINY)), 0.0f);
    r += move;
    return move <= 1e-4f * r;
}

// Where a group has nearly gone, rounding in the sums is many times as large in the root.
inline bool is_rough(double whole, double steep, float r) { return whole > 8 * steep * r; }

// One more step in double precision, of `down` runs of n members that begin `pitch` from each other; t(i) is a
// threshold.
template <class Threshold>
inline float polished(int64_t n, int64_t down, int64_t pitch, float r, const float *w, Threshold t) {
    double g = 0, slope = 0;
    for (int64_t d = 0; d < down * pitch; d += pitch)
        for (int64_t i = d; i < d + n; ++i) {
            double over = 1.0 / std::max((double)r + t(i), (double)TINY), q = w[i] * over;
            q *= q;
            g += q;
            slope += q * over;
        }
    return slope > 0.0 ? (float)std::max(r + g * (std::sqrt(g) - 1.0) / slope, 0.0) : r;
}

// The root of n consecutive members, from a start.
inline float climb(const float *w, const float *t, int64_t n, float r) {
    double whole = 0, steep = 0;
    for (int k = 0; k < ROUNDS; ++k) {
        whole = steep = 0;
        for (int64_t from = 0; from < n; from += BLOCK) {
            Sum g, slope;
            sweep(from, std::min(from + BLOCK, n), [&](int64_t i, auto kind) {
                using T = decltype(kind);
                const T over = inverse(at_least(load<T>(t + i) + r, TINY));
                T q = load<T>(w + i) * over;
                q *= q;
                g.add(q);
                slope.add(q * over);
            });
            whole += g.total();
            steep += slope.total();
        }
        if (climbed(whole, steep, r)) break;
    }
    return r > 0.0f && is_rough(whole, steep, r) ? polished(n, 1, n, r, w, [t](int64_t i) { return t[i]; }) : r;
}

}  // namespace dashpot
