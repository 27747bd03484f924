// Images read at other places. It must give what warp.py gives in torch, to rounding, and the same bits with any number
// of threads; tests say so.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <sys/mman.h>
#include <vector>

#include "../core/pool.h"
#include "copying.h"
#include "sampling.h"
#include "staging.h"

namespace {

using namespace dashpot;

struct Job {
    const void *in;
    void *out;
    const double *matrix;  // [n, 3, 3]
    const float *flow;     // [n, 2, oh, ow], or null
    const uint8_t *bent;   // [n]: the flow moves something; null where there is none
    int64_t n, channels, h, w, oh, ow;
    int32_t bytes_in, bytes_out, last, border, nearest, threads;
};

// How four channels of a type are held.
template <class In>
struct Four {
    using Lanes = Floats4;
};
template <>
struct Four<uint8_t> {
    using Lanes = Bytes4;
};

template <class Out>
struct Scratch {
    std::vector<float> floats, parts, between;
    std::vector<int16_t> words, few, between_words;
    std::vector<uint8_t> bytes;
    std::vector<Out> row;
    std::vector<float> xs, ys;
    std::vector<int32_t> at;

    std::vector<float> &held(float) { return floats; }
    std::vector<int16_t> &held(int16_t) { return words; }
    std::vector<uint8_t> &held(uint8_t) { return bytes; }
    std::vector<float> &weights(float) { return parts; }
    std::vector<int16_t> &weights(int16_t) { return few; }
    std::vector<float> &line(float) { return between; }
    std::vector<int16_t> &line(int16_t) { return between_words; }
};

Steps steps(const Job &job, int64_t area) { return job.last ? Steps{job.channels, 1} : Steps{1, area}; }

bool upright(const double *m) { return m[1] == 0 && m[3] == 0; }
bool affine(const double *m) { return m[6] == 0 && m[7] == 0 && m[8] == 1; }

bool whole_pixels(const double *m) {
    for (int k : {0, 1, 3, 4})
        if (m[k] != 0 && m[k] != 1 && m[k] != -1) return false;
    return affine(m) && m[2] == std::rint(m[2]) && m[5] == std::rint(m[5]);
}

// Windows that only become larger or smaller: what is read along a row is the same in every row.
template <int BORDER, class L, class Out, class Write>
void upright(const Job &job, const typename L::Held *in, const double *m, Scratch<Out> &s, const Write &write) {
    const int32_t h = (int32_t)job.h, w = (int32_t)job.w, ow = (int32_t)job.ow;
    auto &weights = s.weights(typename L::Weight());
    auto &line = s.line(typename L::Line());
    weights.resize(ow);
    line.resize((w + 1) * L::COUNT);
    places(m, nullptr, nullptr, 0, ow, s.xs.data(), s.ys.data());
    fold<BORDER>(s.xs.data(), ow, (float)(w - 1));
    int32_t first = w - 2, last = 0;
    for (int32_t j = 0; j < ow; ++j) {
        const int32_t ix = (int32_t)s.xs[j];
        s.at[j] = ix < w - 2 ? ix : w - 2;
        weights[j] = weight<typename L::Weight>(s.xs[j] - (float)s.at[j]);
        first = std::min(first, s.at[j]);
        last = std::max(last, s.at[j]);
    }
    for (int32_t i = 0; i < (int32_t)job.oh; ++i) {
        float y = (float)(m[4] * i + m[5]);
        fold<BORDER>(&y, 1, (float)(h - 1));
        upright_row<L>(in, h, w, y, s.at.data(), weights.data(), first, last, ow, line.data(), s.row.data());
        write(i);
    }
}

template <int BORDER, class L, class In, class Out>
void bilinear(const Job &job, const In *in, Out *out, const double *m, const float *flow, Scratch<Out> &s) {
    const int64_t c = job.channels, inside = job.h * job.w, area = job.oh * job.ow;
    const Steps from = steps(job, inside), to = steps(job, area);
    auto &held = s.held(typename L::Held());
    const bool plain = BORDER != ZERO && !flow && upright(m) && affine(m) && job.h > 1 && job.w > 1;
    for (int64_t first = 0; first < c; first += L::COUNT) {
        const int64_t some = std::min<int64_t>(L::COUNT, c - first);
        stage<L>(in + first * from.plane, held, some, inside, from);
        const auto write = [&](int64_t i) {
            unstage<L>(s.row.data(), out + first * to.plane + i * job.ow * to.pixel, some, job.ow, to);
        };
        if (plain) upright<BORDER, L>(job, held.data(), m, s, write);
        for (int64_t i = plain ? job.oh : 0; i < job.oh; ++i) {
            const float *fx = flow ? flow + i * job.ow : nullptr, *fy = flow ? fx + area : nullptr;
            places(m, fx, fy, i, job.ow, s.xs.data(), s.ys.data());
            bilinear_row<BORDER, L>(held.data(), (int32_t)job.h, (int32_t)job.w, s.xs.data(), s.ys.data(),
                (int32_t)job.ow, s.row.data());
            write(i);
        }
    }
}

template <int BORDER, class In, class Out>
void nearest(const Job &job, const In *in, Out *out, const double *m, const float *flow, Scratch<Out> &s) {
    const int64_t c = job.channels, inside = job.h * job.w, area = job.oh * job.ow;
    const Steps from = steps(job, inside), to = steps(job, area);
    for (int64_t i = 0; i < job.oh; ++i) {
        const float *fx = flow ? flow + i * job.ow : nullptr, *fy = flow ? fx + area : nullptr;
        places(m, fx, fy, i, job.ow, s.xs.data(), s.ys.data());
        nearest_places<BORDER>((int32_t)job.h, (int32_t)job.w, s.xs.data(), s.ys.data(), (int32_t)job.ow, s.at.data());
        for (int64_t k = 0; k < c; ++k) {
            const In *plane = in + k * from.plane;
            Out *row = out + k * to.plane + i * job.ow * to.pixel;
            for (int64_t j = 0; j < job.ow; ++j) {
                if (s.at[j] < 0) row[j * to.pixel] = Out(0);
                else put(row + j * to.pixel, plane[s.at[j] * from.pixel]);
            }
        }
    }
}

// Fresh memory comes page by page when it is first written, which takes longer than writing it.
void in_large_pages(void *memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    const uintptr_t page = 1 << 21, from = ((uintptr_t)memory + page - 1) / page * page, to = (uintptr_t)memory + bytes;
    if (bytes >= 1 << 23) madvise((void *)from, to - from, MADV_HUGEPAGE);
#endif
}

template <int BORDER, class In, class Out>
void image(const Job &job, int64_t k, Scratch<Out> &s) {
    using Lanes = typename Four<In>::Lanes;
    const In *in = (const In *)job.in + k * job.channels * job.h * job.w;
    Out *out = (Out *)job.out + k * job.channels * job.oh * job.ow;
    const double *m = job.matrix + 9 * k;
    const float *flow = job.flow && job.bent[k] ? job.flow + k * 2 * job.oh * job.ow : nullptr;
    const bool whole = !flow && whole_pixels(m);
    if (whole && upright(m)) {
        const bool large = job.n * job.channels * job.oh * job.ow * (int64_t)sizeof(Out) >= LARGE;
        const Moves moves{(int64_t)m[0], (int64_t)m[2], (int64_t)m[4], (int64_t)m[5]};
        copied<BORDER>(in, out, moves, job.last ? 1 : job.channels, job.last ? job.channels : 1, job.h, job.w, job.oh,
            job.ow, large);
    } else if (whole || job.nearest) {
        nearest<BORDER>(job, in, out, m, flow, s);
    } else if (job.channels == 1) {
        bilinear<BORDER, One<In>>(job, in, out, m, flow, s);
    } else {
        bilinear<BORDER, Lanes>(job, in, out, m, flow, s);
    }
}

template <int BORDER, class In, class Out>
void all(const Job &job) {
    parallel((int)std::min<int64_t>(job.threads, job.n), [&](int64_t k, int64_t n) {
        Scratch<Out> s;
        s.row.resize(4 * job.ow);
        s.xs.resize(job.ow);
        s.ys.resize(job.ow);
        s.at.resize(job.ow);
        for (int64_t i = job.n * k / n; i < job.n * (k + 1) / n; ++i) image<BORDER, In, Out>(job, i, s);
    });
}

template <int BORDER>
void typed(const Job &job) {
    if (!job.bytes_in) all<BORDER, float, float>(job);
    else if (job.bytes_out) all<BORDER, uint8_t, uint8_t>(job);
    else all<BORDER, uint8_t, float>(job);
}

}  // namespace

extern "C" int64_t dashpot_warp_size() { return sizeof(Job); }

extern "C" void dashpot_warp(const Job *job) {
    in_large_pages(job->out, job->n * job->channels * job->oh * job->ow * (job->bytes_out ? 1 : 4));
    if (job->border == REFLECT) typed<REFLECT>(*job);
    else if (job->border == ZERO) typed<ZERO>(*job);
    else typed<REPLICATE>(*job);
}
