// One pass over memory: the optimizer's update (or none) and the proximal map of
//     l1 * sum |w| + l2 / 2 * sum w^2 + lg * sum over groups |w_group|
// for a list of tensors. It must give what the Python functions beside it give, to float rounding; a test says so.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "../../core/pool.h"
#include "columns.h"
#include "lanes.h"
#include "rows.h"
#include "rules.h"

namespace {

using namespace dashpot;

constexpr int64_t LINE = 16;  // weights that are not parted: a line of the cache

template <class Rule, bool ADAPTIVE, Beside MORE>
void elements(const Job &job, int64_t from, int64_t to) {
    const Job j = job;  // a copy: stores through its pointers could change the caller's, for all the compiler knows
    sweep(from, to, [&](int64_t i, auto kind) {
        decltype(kind) less;
        store(j.p + i, moved<Rule, ADAPTIVE, MORE>(j, i, less));
    });
}

struct Scratch {
    std::vector<float> row;
    Stripe stripe;
};

// What is not parted between threads: lines, groups or chunks of them.
int64_t units(const Job &j) {
    if (!j.row) return (j.numel + LINE - 1) / LINE;
    return by_stripes(j) ? j.numel / (j.row * j.down * j.across) * chunks(j) : j.numel / (j.row * j.down);
}

template <class Rule, bool ADAPTIVE, Beside MORE>
void part(const Job &j, int64_t from, int64_t to, Scratch &scratch) {
    if (!j.row) elements<Rule, ADAPTIVE, MORE>(j, from * LINE, std::min(to * LINE, j.numel));
    else if (by_stripes(j)) columns<Rule, ADAPTIVE, MORE>(j, from, to, scratch.stripe, chunks(j));
    else rows<Rule, ADAPTIVE, MORE>(j, from, to, scratch.row);
}

template <class Rule, bool ADAPTIVE>
void part(const Job &j, int64_t from, int64_t to, Scratch &scratch) {
    if (j.l2 != 0.0f) part<Rule, ADAPTIVE, SHRINK>(j, from, to, scratch);
    else if (j.l1 != 0.0f) part<Rule, ADAPTIVE, SOFT>(j, from, to, scratch);
    else part<Rule, ADAPTIVE, NOTHING>(j, from, to, scratch);
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
        Scratch scratch;
        int64_t first = total * k / n, last = total * (k + 1) / n, start = 0;
        for (int64_t i = 0; i < count && start < last; start += jobs[i++].numel) {
            const Job &j = jobs[i];
            const int64_t whole = units(j);
            // A unit at a border is the earlier thread's.
            auto edge = [&](int64_t at) {
                const auto weights = (unsigned __int128)std::clamp<int64_t>(at - start, 0, j.numel);
                return (int64_t)((weights * whole + j.numel - 1) / j.numel);
            };
            const int64_t from = edge(first), to = edge(last);
            if (from < to) work(j, from, to, scratch);
        }
    });
}

}  // namespace

extern "C" void dashpot_adam(const Job *jobs, int64_t count, int adaptive, int threads) {
    run(jobs, count, threads, [adaptive](const Job &j, int64_t from, int64_t to, Scratch &scratch) {
        adaptive ? part<Adam, true>(j, from, to, scratch) : part<Adam, false>(j, from, to, scratch);
    });
}

extern "C" void dashpot_sgd(const Job *jobs, int64_t count, int adaptive, int threads) {
    (void)adaptive;  // the step is one number, and is in the job
    run(jobs, count, threads, [](const Job &j, int64_t from, int64_t to, Scratch &scratch) {
        j.has_buffer ? part<Sgd<true>, false>(j, from, to, scratch) : part<Sgd<false>, false>(j, from, to, scratch);
    });
}

extern "C" void dashpot_map(const Job *jobs, int64_t count, int adaptive, int threads) {
    run(jobs, count, threads, [adaptive](const Job &j, int64_t from, int64_t to, Scratch &scratch) {
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
