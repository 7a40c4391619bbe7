// CUDA C++ for the CPU: enough of it to compile a kernel with g++ and to run its blocks one after another.
//
// A block's threads take turns, each until it waits for the others; a thread that waits where another has ended, which
// hangs a GPU, ends the program. With SHIM_THREADS they are threads of the system instead, for -fsanitize=thread.

#pragma once

#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <math.h>
#include <memory>
#include <thread>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __shared__
#define __noinline__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct Index { uint32_t x; };

constexpr int64_t SHARED = 48 << 10;
alignas(16) double pool[SHARED / 8];

inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
inline int32_t atomicAdd(int32_t* const to, const int32_t x) { return std::atomic_ref<int32_t>(*to).fetch_add(x); }

#ifdef SHIM_THREADS

thread_local Index threadIdx, blockIdx;
std::barrier<>* together_at;

inline void __syncthreads() { together_at->arrive_and_wait(); }

inline void launch_blocks(const int64_t blocks, const int32_t threads, const std::function<void()>& kernel) {
    std::barrier<> barrier(threads);
    together_at = &barrier;
    std::vector<std::thread> running;
    for (int32_t i = 0; i < threads; ++i)
        running.emplace_back([&, i] {
            threadIdx.x = uint32_t(i);
            for (int64_t b = 0; b < blocks; ++b) {
                blockIdx.x = uint32_t(b);
                kernel();
                __syncthreads();
            }
        });
    for (std::thread& one : running) one.join();
}

#else

Index threadIdx, blockIdx;

struct Turns {
    static constexpr int64_t STACK = 128 << 10;
    ucontext_t host;
    std::vector<ucontext_t> threads;
    std::vector<std::unique_ptr<char[]>> stacks;
    std::vector<bool> ended;
    const std::function<void()>* kernel;
} turns;

inline void __syncthreads() { swapcontext(&turns.threads[threadIdx.x], &turns.host); }

inline void run_thread() {
    (*turns.kernel)();
    turns.ended[threadIdx.x] = true;
}

inline void run_block_of(const int32_t threads) {
    for (int32_t i = 0; i < threads; ++i) {
        getcontext(&turns.threads[i]);
        turns.threads[i].uc_stack = {turns.stacks[i].get(), 0, Turns::STACK};
        turns.threads[i].uc_stack.ss_size = Turns::STACK;
        turns.threads[i].uc_link = &turns.host;
        makecontext(&turns.threads[i], run_thread, 0);
        turns.ended[i] = false;
    }
    for (int32_t ended = 0; !ended;) {
        for (uint32_t i = 0; i < uint32_t(threads); ++i) {
            threadIdx.x = i;
            swapcontext(&turns.host, &turns.threads[i]);
            ended += turns.ended[i];
        }
        if (ended && ended != threads) {
            std::fprintf(stderr, "%d of %d threads ended while others waited\n", ended, threads);
            std::abort();
        }
    }
}

inline void launch_blocks(const int64_t blocks, const int32_t threads, const std::function<void()>& kernel) {
    turns.kernel = &kernel;
    turns.threads.resize(threads);
    turns.ended.resize(threads);
    while (int64_t(turns.stacks.size()) < threads) turns.stacks.emplace_back(new char[Turns::STACK]);
    for (int64_t b = 0; b < blocks; ++b) {
        blockIdx.x = uint32_t(b);
        std::memset(pool, 0xff, sizeof pool);  // what an earlier block has left is nothing to rely on
        run_block_of(threads);
    }
}

#endif
