// A network of known layers, member by member: forward, loss, backward. What one member needs stays in the cache while it is worked on, and nothing is
// handed from call to call. The plain twin is the stacked network under autograd; tests compare the two.
#include <algorithm>
#include <cmath>
#include <thread>

#include "embeddings.h"
#include "norms.h"
#include "pointwise.h"
#include "products.h"

namespace {

enum Kind : int32_t { LINEAR, BATCH_NORM, LAYER_NORM, ACTIVATION, DROPOUT, SCALING, ADD, COPY, PIECEWISE, PERIODIC, NOMINAL };

// One step of the network; the layout is mirrored in program.py. Weights are places in a member's row of values, -1 where there are none.
struct Op {
    int32_t kind, in, other, out;    // slots of activations; `other` for ADD
    int32_t ins, outs;               // their widths
    int32_t act, place;              // ACTIVATION; DROPOUT after it, or -1
    int32_t wants, add, add_other;   // whether the gradient of `in` is wanted, and whether it is added to what is there
    int32_t low, norm;               // products in bfloat16; which normalization, in the order of the buffers
    int32_t begin, to;               // of COPY and embeddings: the first column that is read, and the first that is written
    int32_t count, table;            // bins or waves; which constant buffer
    float eps, momentum, speed;
    int64_t weight, bias;
};

struct Task {
    int64_t members, batch, slots, ops, width, classes;  // width: of a row of values
    const int32_t *widths;                               // of the slots
    const float *x;                                      // [members, batch, widths[0]]
    const float *soft;                                   // targets [members, batch, classes], or
    const int64_t *hard;                                 // [members, batch]
    const float *values;
    float *grads;
    float **buffers;                    // running mean and variance of each normalization [members, width], null where there are none
    const float **tables;               // constant buffers [members, ...]: the edges of bins
    const uint64_t *keys;               // of each dropout place [members]
    const float *rates, *scales;
    float *objective;                   // [members]
    float *outputs;                     // for no training: [members, batch, classes]
    int64_t training, learn, squares;   // learn: running statistics; squares: squared error
};

// Kept from step to step.
struct Arena {
    Scratch scratch;
    Room<float> values, slopes, stats, sums, room, kept;
};

struct Worker {
    const Task &t;
    const Op *ops;
    Arena &arena;
    Scratch &scratch;
    Room<float> &values, &slopes, &stats, &sums;
    std::vector<int64_t> at, kept_at;
    int64_t total = 0, most = 0;

    Worker(const Task &task, const Op *list, Arena &a)
        : t(task), ops(list), arena(a), scratch(a.scratch), values(a.values), slopes(a.slopes), stats(a.stats), sums(a.sums) {
        for (int64_t s = 0; s < t.slots; ++s) {
            at.push_back(total);
            total += (t.batch * t.widths[s] + 15) / 16 * 16;
            most = std::max<int64_t>(most, t.widths[s]);
        }
        values.resize(total);
        if (t.training) slopes.resize(total);
        int64_t norms = 0;
        for (int64_t k = 0; k < t.ops; ++k) norms = std::max<int64_t>(norms, ops[k].norm + 1);
        stats.resize(2 * norms * std::max(most, t.batch));
        sums.resize(4 * most);
        int64_t held = 0, space = 0;
        for (int64_t k = 0; k < t.ops; ++k) {
            kept_at.push_back(held);
            if (ops[k].kind == PIECEWISE) held += 2 * t.batch * ops[k].ins, space = std::max<int64_t>(space, ops[k].count * (ops[k].outs - ops[k].ins));
        }
        arena.kept.resize(held);
        arena.room.resize(space);
    }

    const float *x;
    const float *slot(int32_t s) { return s == 0 ? x : values.data() + at[s]; }
    float *out(int32_t s) { return values.data() + at[s]; }
    float *slope_of(int32_t s) { return slopes.data() + at[s]; }
    float *mean_of(const Op &o) { return stats.data() + 2 * o.norm * std::max(most, t.batch); }
    float *inverse_of(const Op &o) { return mean_of(o) + std::max(most, t.batch); }

    bool mask_of(const Op &o, int64_t k, Mask &m) const {
        if (o.place < 0 || !t.training) return false;
        const int64_t i = o.place * t.members + k;
        m = {(uint32_t)t.keys[i], (uint32_t)(t.keys[i] >> 32), t.rates[i], t.scales[i]};
        return m.rate > 0.0f;
    }

    Rows rows_of(const Op &o) {
        return {slot(o.in) + o.begin, t.widths[o.in], t.widths[o.out], t.batch, o.ins, o.count, o.outs / o.ins - 1};
    }

    void forward(int64_t k) {
        const float *own = t.values + k * t.width;
        x = t.x + k * t.batch * t.widths[0];
        for (int64_t step = 0; step < t.ops; ++step) {
            const Op &o = ops[step];
            const float *w = o.weight < 0 ? nullptr : own + o.weight, *b = o.bias < 0 ? nullptr : own + o.bias;
            const float *in = slot(o.in);
            float *y = out(o.out);
            const int64_t n = t.batch * o.outs;
            Mask mask;
            const Mask *drop = mask_of(o, k, mask) ? &mask : nullptr;
            switch (o.kind) {
                case LINEAR: linear(in, w, b, y, t.batch, o.ins, o.outs, o.low && t.training, scratch); break;
                case BATCH_NORM: {
                    float *mean = t.buffers[2 * o.norm], *variance = t.buffers[2 * o.norm + 1];
                    const Running running = {mean ? mean + k * o.ins : nullptr, mean ? variance + k * o.ins : nullptr, o.momentum};
                    const bool learn = t.training && t.learn && mean, own = t.training || !mean;
                    batch_norm(in, y, t.batch, o.ins, w, b, o.eps, mean_of(o), inverse_of(o), sums.data(), running, own, learn);
                    break;
                }
                case LAYER_NORM: layer_norm(in, y, t.batch, o.ins, w, b, o.eps, mean_of(o), inverse_of(o)); break;
                case SCALING:
                    for (int64_t i = 0; i < t.batch; ++i)
#pragma omp simd
                        for (int64_t j = 0; j < o.ins; ++j) y[i * o.ins + j] = in[i * o.ins + j] * (1.0f + o.speed * w[j]);
                    break;
                case ADD: {
                    const float *other = slot(o.other);
#pragma omp simd
                    for (int64_t i = 0; i < n; ++i) y[i] = in[i] + other[i];
                    break;
                }
                case COPY:
                    for (int64_t i = 0; i < t.batch; ++i) std::copy_n(in + o.begin + i * t.widths[o.in], o.ins, y + o.to + i * t.widths[o.out]);
                    break;
                case PIECEWISE: {
                    const Rows r = rows_of(o);
                    const float *edges = t.tables[o.table] + k * o.ins * (o.count + 1);
                    float *ways = arena.kept.data() + kept_at[step], *places = ways + t.batch * o.ins;
                    (r.made == 3 ? piecewise<3> : piecewise<0>)(r, edges, w, b, y + o.to, arena.room.data(), ways, places);
                    break;
                }
                default:
                    switch (o.act) {
                        case RELU: activate<RELU>(in, y, n, drop); break;
                        case SILU: activate<SILU>(in, y, n, drop); break;
                        case SELU: activate<SELU>(in, y, n, drop); break;
                        case MISH: activate<MISH>(in, y, n, drop); break;
                        case TANH: activate<TANH>(in, y, n, drop); break;
                        default: activate<NONE>(in, y, n, drop);
                    }
            }
        }
    }

    void backward(int64_t k) {
        const float *own = t.values + k * t.width;
        float *mine = t.grads + k * t.width;
        for (int64_t step = t.ops - 1; step >= 0; --step) {
            const Op &o = ops[step];
            const float *w = o.weight < 0 ? nullptr : own + o.weight;
            float *dw = o.weight < 0 ? nullptr : mine + o.weight, *db = o.bias < 0 ? nullptr : mine + o.bias;
            const float *in = slot(o.in), *g = slope_of(o.out);
            float *dx = slope_of(o.in);
            const int64_t n = t.batch * o.outs;
            Mask mask;
            const Mask *drop = mask_of(o, k, mask) ? &mask : nullptr;
            switch (o.kind) {
                case LINEAR:
                    linear_weight(g, in, dw, t.batch, o.ins, o.outs, o.low, scratch);
                    if (db) {
                        std::fill(db, db + o.outs, 0.0f);
                        for (int64_t i = 0; i < t.batch; ++i)
#pragma omp simd
                            for (int64_t j = 0; j < o.outs; ++j) db[j] += g[i * o.outs + j];
                    }
                    if (o.wants) linear_input(g, w, dx, t.batch, o.ins, o.outs, o.add, o.low, scratch);
                    break;
                case BATCH_NORM:
                    batch_norm_back(in, g, o.wants ? dx : nullptr, t.batch, o.ins, w, dw, db, mean_of(o), inverse_of(o), sums.data(), sums.data() + most, o.add);
                    break;
                case LAYER_NORM: layer_norm_back(in, g, o.wants ? dx : nullptr, t.batch, o.ins, w, dw, db, mean_of(o), inverse_of(o), o.add); break;
                case SCALING:
                    std::fill(dw, dw + o.ins, 0.0f);
                    for (int64_t i = 0; i < t.batch; ++i)
#pragma omp simd
                        for (int64_t j = 0; j < o.ins; ++j) dw[j] += o.speed * g[i * o.ins + j] * in[i * o.ins + j];
                    if (o.wants)
                        for (int64_t i = 0; i < t.batch; ++i)
                            for (int64_t j = 0; j < o.ins; ++j) {
                                const float d = g[i * o.ins + j] * (1.0f + o.speed * w[j]);
                                dx[i * o.ins + j] = o.add ? dx[i * o.ins + j] + d : d;
                            }
                    break;
                case ADD: {
                    float *dother = slope_of(o.other);
                    for (int64_t i = 0; i < n; ++i) dx[i] = o.add ? dx[i] + g[i] : g[i];
                    for (int64_t i = 0; i < n; ++i) dother[i] = o.add_other ? dother[i] + g[i] : g[i];
                    break;
                }
                case COPY:
                    for (int64_t i = 0; o.wants && i < t.batch; ++i)
                        for (int64_t j = 0; j < o.ins; ++j) {
                            const float d = g[o.to + i * t.widths[o.out] + j];
                            dx[i * o.ins + j] = o.add ? dx[i * o.ins + j] + d : d;
                        }
                    break;
                case PIECEWISE: {
                    const Rows r = rows_of(o);
                    const float *edges = t.tables[o.table] + k * o.ins * (o.count + 1);
                    const float *ways = arena.kept.data() + kept_at[step], *places = ways + t.batch * o.ins;
                    (r.made == 3 ? piecewise_back<3> : piecewise_back<0>)(r, edges, g + o.to, dw, db, arena.room.data(), ways, places);
                    break;
                }
                default:
                    if (!o.wants) break;
                    switch (o.act) {
                        case RELU:
                            if (o.add) retract<RELU>(in, g, dx, n, drop, true);
                            else retract_relu(slot(o.out), g, dx, n, drop ? mask.scale : 1.0f);
                            break;
                        case SILU: retract<SILU>(in, g, dx, n, drop, o.add); break;
                        case SELU: retract<SELU>(in, g, dx, n, drop, o.add); break;
                        case MISH: retract<MISH>(in, g, dx, n, drop, o.add); break;
                        case TANH: retract<TANH>(in, g, dx, n, drop, o.add); break;
                        default: retract<NONE>(in, g, dx, n, drop, o.add);
                    }
            }
        }
    }

    // The mean loss, and its gradient in the last slot.
    float loss(int64_t k) {
        const int32_t last = ops[t.ops - 1].out;
        const int64_t c = t.classes;
        const float *z = slot(last);
        float *g = slope_of(last);
        double total = 0;
        const float share = 1.0f / (float)t.batch;
        for (int64_t i = 0; i < t.batch; ++i, z += c, g += c) {
            const float *soft = t.soft ? t.soft + (k * t.batch + i) * c : nullptr;
            if (t.squares) {
                double square = 0;
                for (int64_t j = 0; j < c; ++j) {
                    const float d = z[j] - soft[j];
                    square += d * d;
                    g[j] = 2.0f * d * share / (float)c;
                }
                total += square / c;
                continue;
            }
            float top = z[0], sum = 0;
            bool lost = false;
            for (int64_t j = 0; j < c; ++j) top = std::max(top, z[j]), lost = lost || z[j] != z[j];
#pragma omp simd reduction(+ : sum)
            for (int64_t j = 0; j < c; ++j) sum += g[j] = exponential(z[j] - top);
            const float log = top + std::log(sum);
            if (soft) {
                float mass = 0, against = 0;
                for (int64_t j = 0; j < c; ++j) mass += soft[j], against += soft[j] * (log - z[j]);
                for (int64_t j = 0; j < c; ++j) g[j] = (g[j] / sum * mass - soft[j]) * share;
                total += against;
            } else {
                const int64_t y = t.hard[k * t.batch + i];
                for (int64_t j = 0; j < c; ++j) g[j] = g[j] / sum * share;
                g[y] -= share;
                total += log - z[y];
            }
            if (lost) total = NAN;
        }
        return (float)(total / t.batch);
    }

    void run(int64_t from, int64_t to) {
        for (int64_t k = from; k < to; ++k) {
            forward(k);
            if (t.training) {
                t.objective[k] = loss(k);
                backward(k);
            } else {
                const float *z = slot(ops[t.ops - 1].out);
                std::copy(z, z + t.batch * t.classes, t.outputs + k * t.batch * t.classes);
            }
        }
    }
};

}  // namespace

extern "C" void dashpot_program(const Op *ops, const Task *task, int threads) {
    const int64_t count = std::min<int64_t>(threads, task->members);
    static thread_local Arena kept;
    auto span = [&](int64_t i, Arena &arena) { Worker(*task, ops, arena).run(task->members * i / count, task->members * (i + 1) / count); };
    std::vector<std::thread> others;
    for (int64_t i = 1; i < count; ++i)
        others.emplace_back([&span, i] {
            Arena own;
            span(i, own);
        });
    span(0, kept);
    for (auto &other : others) other.join();
}

// Blends of the rows of each member: share * row + (1 - share) * partner, as torch.lerp has it. A share of 1 leaves a row as it is.
extern "C" void dashpot_mix(int64_t members, int64_t batch, int64_t width, const float *x, const int64_t *order, const float *share, float *out) {
    for (int64_t i = 0; i < members * batch; ++i) {
        const float *a = x + i * width, *b = x + (i / batch * batch + order[i]) * width;
        const float w = share[i], v = 1.0f - w;
        float *to = out + i * width;
        if (w < 0.5f) {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) to[j] = b[j] + w * (a[j] - b[j]);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) to[j] = a[j] - (a[j] - b[j]) * v;
        }
    }
}

// The class probabilities of such blends.
extern "C" void dashpot_mix_classes(int64_t members, int64_t batch, int64_t classes, const int64_t *y, const int64_t *order, const float *share, float *out) {
    std::fill(out, out + members * batch * classes, 0.0f);
    for (int64_t i = 0; i < members * batch; ++i) {
        const int64_t a = y[i], b = y[i / batch * batch + order[i]];
        out[i * classes + a] = a == b ? 1.0f : share[i];
        if (a != b) out[i * classes + b] = 1.0f - share[i];
    }
}

extern "C" int64_t dashpot_op_size() { return sizeof(Op); }
extern "C" int64_t dashpot_task_size() { return sizeof(Task); }
extern "C" int dashpot_has_low() {
#if defined(__AVX512BF16__)
    return 1;
#else
    return 0;
#endif
}
