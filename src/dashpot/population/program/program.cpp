// A network of known layers, member by member: forward, loss, backward. What one member needs stays in the cache while
// it is worked on, and nothing is handed from call to call. The plain twin is the stacked network under autograd; tests
// compare the two.
#include <algorithm>
#include <cmath>
#include <thread>

#include "embeddings.h"
#include "norms.h"
#include "pointwise.h"
#include "products.h"
#include "losses.h"
#include "task.h"

namespace {

// Mirrored in layers.py.
enum Kind : int32_t {
    LINEAR, BATCH_NORM, LAYER_NORM, ACTIVATION, DROPOUT, SCALING, ADD, COPY, PIECEWISE, PERIODIC, NOMINAL
};

// One step of the network; the layout is mirrored in executor.py. Weights are places in a member's row of values, -1
// where there are none.
struct Op {
    int32_t kind, in, other, out;    // slots of activations; `other` for ADD
    int32_t ins, outs;               // their widths
    int32_t act, place;              // ACTIVATION; DROPOUT after it, or -1
    int32_t wants, add, add_other;   // whether the gradient of `in` is wanted, and whether it is added to what is there
    int32_t low, norm;               // products in bfloat16; which normalization, in the order of the buffers
    // of COPY and embeddings: the first column that is read, and the first that is written
    int32_t begin, to;
    int32_t count, table;            // bins or waves; which constant buffer
    float eps, momentum, speed;
    int64_t weight, bias, frequency, phase;
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
        : t(task), ops(list), arena(a), scratch(a.scratch), values(a.values), slopes(a.slopes), stats(a.stats),
            sums(a.sums) {
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
            const int64_t cells = ops[k].count * (ops[k].outs - ops[k].ins);
            if (ops[k].kind == PIECEWISE) held += 2 * t.batch * ops[k].ins;
            if (ops[k].kind == PIECEWISE || ops[k].kind == PERIODIC)
                space = std::max<int64_t>(space, 2 * (cells + ops[k].count) + LANES * ops[k].outs);
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
                    const Running running = {mean ? mean + k * o.ins : nullptr, mean ? variance + k * o.ins : nullptr,
                        o.momentum};
                    const bool learn = t.training && t.learn && mean, own = t.training || !mean;
                    batch_norm(in, y, t.batch, o.ins, w, b, o.eps, mean_of(o), inverse_of(o), sums.data(), running,
                        own, learn);
                    break;
                }
                case LAYER_NORM: layer_norm(in, y, t.batch, o.ins, w, b, o.eps, mean_of(o), inverse_of(o)); break;
                case SCALING:
                    for (int64_t i = 0; i < t.batch; ++i)
#pragma omp simd
                        for (int64_t j = 0; j < o.ins; ++j)
                            y[i * o.ins + j] = in[i * o.ins + j] * (1.0f + o.speed * w[j]);
                    break;
                case ADD: {
                    const float *other = slot(o.other);
#pragma omp simd
                    for (int64_t i = 0; i < n; ++i) y[i] = in[i] + other[i];
                    break;
                }
                case COPY:
                    for (int64_t i = 0; i < t.batch; ++i)
                        std::copy_n(in + o.begin + i * t.widths[o.in], o.ins, y + o.to + i * t.widths[o.out]);
                    break;
                case PIECEWISE: {
                    const Rows r = rows_of(o);
                    const float *edges = t.tables[o.table] + k * o.ins * (o.count + 1);
                    float *ways = arena.kept.data() + kept_at[step], *places = ways + t.batch * o.ins;
                    (r.made == 3 ? piecewise<3> : piecewise<0>)(r, edges, w, b, y + o.to, arena.room.data(), ways,
                        places);
                    break;
                }
                case PERIODIC: {
                    const Rows r = rows_of(o);
                    (r.made == 3 ? periodic<3> : periodic<0>)(r, {own + o.frequency, own + o.phase, w, b}, y + o.to,
                        arena.room.data());
                    break;
                }
                case NOMINAL: nominal(in + o.begin, t.widths[o.in], t.batch, o.ins, o.outs, w, y + o.to,
                    t.widths[o.out]); break;
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
                    batch_norm_back(in, g, o.wants ? dx : nullptr, t.batch, o.ins, w, dw, db, mean_of(o),
                        inverse_of(o), sums.data(), sums.data() + most, o.add);
                    break;
                case LAYER_NORM: layer_norm_back(in, g, o.wants ? dx : nullptr, t.batch, o.ins, w, dw, db, mean_of(o),
                    inverse_of(o), o.add); break;
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
                    (r.made == 3 ? piecewise_back<3> : piecewise_back<0>)(r, edges, g + o.to, dw, db,
                        arena.room.data(), ways, places);
                    break;
                }
                case PERIODIC:
                    periodic_back(rows_of(o), {own + o.frequency, own + o.phase, w, nullptr}, g + o.to,
                        mine + o.frequency, mine + o.phase, dw, db,
                                  arena.room.data());
                    break;
                case NOMINAL: nominal_back(in + o.begin, t.widths[o.in], t.batch, o.ins, o.outs, g + o.to,
                    t.widths[o.out], dw); break;
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

    void run(int64_t from, int64_t to) {
        for (int64_t k = from; k < to; ++k) {
            forward(k);
            if (t.training) {
                const int32_t last = ops[t.ops - 1].out;
                const float *soft = t.soft ? t.soft + k * t.batch * t.classes : nullptr;
                const int64_t *hard = t.hard ? t.hard + k * t.batch : nullptr;
                const float *shares = t.shares ? t.shares + k * t.batch : nullptr;
                t.objective[k] =
                    mean_loss(slot(last), slope_of(last), t.batch, t.classes, soft, hard, shares, t.squares);
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
    auto span = [&](int64_t i, Arena &arena) { Worker(*task, ops, arena).run(task->members * i / count,
        task->members * (i + 1) / count); };
    std::vector<std::thread> others;
    for (int64_t i = 1; i < count; ++i)
        others.emplace_back([&span, i] {
            Arena own;
            span(i, own);
        });
    span(0, kept);
    for (auto &other : others) other.join();
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
