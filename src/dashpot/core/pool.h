// Work in several threads: on the OpenMP workers that torch has started already, which else would spin against threads
// of our own; on threads of our own where there is no OpenMP runtime.
#pragma once
#include <cstdint>
#include <dlfcn.h>
#include <thread>
#include <vector>

namespace dashpot {

// torch loads its runtime where all libraries see it. It is looked up when first needed and never linked, so that no
// second one is loaded. LLVM's and Intel's have these entry points of GNU's too.
struct OpenMP {
    using Region = void (*)(void (*)(void *), void *, unsigned, unsigned);
    using Number = int (*)();
    Region region = (Region)dlsym(RTLD_DEFAULT, "GOMP_parallel");
    Number mine = (Number)dlsym(RTLD_DEFAULT, "omp_get_thread_num");
    Number team = (Number)dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    Number most = (Number)dlsym(RTLD_DEFAULT, "omp_get_max_threads");
    bool usable() const { return region && mine && team && most; }
    static const OpenMP &get() {
        static const OpenMP found;
        return found;
    }
};

// work(k, n) for k = 0 .. n - 1 side by side; n is at most `threads`, and may be less.
template <class Work>
void parallel(int threads, const Work &work) {
    const OpenMP &omp = OpenMP::get();
    if (threads <= 1) {
        work(0, 1);
    } else if (omp.usable()) {
        omp.region([](void *data) { (*static_cast<const Work *>(data))(OpenMP::get().mine(), OpenMP::get().team()); },
            (void *)&work, (unsigned)threads, 0);
    } else {
        std::vector<std::thread> others;
        for (int k = 1; k < threads; ++k) others.emplace_back([&work, k, threads] { work(k, threads); });
        work(0, threads);
        for (auto &other : others) other.join();
    }
}

}  // namespace dashpot
