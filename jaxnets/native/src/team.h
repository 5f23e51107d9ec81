// Tasks shared out among the threads of XLA's own pool.
#pragma once

#include <atomic>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels.h"

namespace jaxnets {

class Team {
 public:
  using Schedule = std::function<void(std::function<void()>)>;

  Team(int threads, Schedule schedule) : threads_(threads), schedule_(schedule) {}

  int threads() const { return threads_; }

  // Calls task(i) for every i < count. The caller works too and waits only for tasks
  // that a thread has begun, so that a pool that is busy elsewhere delays nothing.
  // Throws std::bad_alloc if a task threw anything: they all run out of memory only.
  template <typename Task>
  void run(i64 count, const Task& task) {
    if (count <= 0) return;
    struct Shared {
      std::atomic<i64> next{0};
      std::atomic<i64> left;
      std::atomic<bool> failed{false};
    };
    auto shared = std::make_shared<Shared>();
    shared->left = count;
    // A helper that comes late finds no task left and does not touch `task`.
    auto work = [shared, count, &task] {
      for (i64 i; (i = shared->next.fetch_add(1)) < count;) {
        try {
          task(i);
        } catch (const std::exception&) {
          shared->failed = true;
        }
        if (shared->left.fetch_sub(1) == 1) shared->left.notify_all();
      }
    };
    const i64 helpers = count < threads_ ? count - 1 : threads_ - 1;
    try {
      for (i64 i = 0; i < helpers; ++i) schedule_(work);
    } catch (const std::bad_alloc&) {
      // Fewer helpers, then: those that are scheduled refer to `task`.
    }
    work();
    for (i64 left; (left = shared->left.load()) > 0;) shared->left.wait(left);
    if (shared->failed) throw std::bad_alloc();
  }

 private:
  int threads_;
  Schedule schedule_;
};

constexpr std::size_t kLargePage = 2 << 20;
// What is no larger, glibc keeps for the next call.
constexpr std::size_t kFreshBytes = 32 << 20;

// Large arrays lie in fresh memory, each of whose pages costs as much as computing what
// is in it; asked for, Linux gives pages of 2 MiB. NumPy asks likewise.
inline void want_large_pages(void* data, std::size_t bytes) {
#if defined(__linux__)
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  const auto from = (begin + kLargePage - 1) / kLargePage * kLargePage;
  const auto to = (begin + bytes) / kLargePage * kLargePage;
  if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

// Floats on a cache line's border, not initialized.
class Floats {
 public:
  explicit Floats(i64 count = 0) { resize(count); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  ~Floats() { std::free(data_); }

  // Room for `count`; what was in it is lost when it grows.
  float* resize(i64 count) {
    if (count > room_) {
      release();
      const std::size_t wanted = count * sizeof(float);
      const std::size_t border = wanted < kFreshBytes ? 64 : kLargePage;
      const std::size_t bytes = (wanted + border - 1) / border * border;
      data_ = static_cast<float*>(std::aligned_alloc(border, bytes));
      if (data_ == nullptr) throw std::bad_alloc();
      if (wanted >= kFreshBytes) want_large_pages(data_, bytes);
      room_ = count;
    }
    return data_;
  }

  float* data() const { return data_; }

  void release() {
    std::free(data_);
    data_ = nullptr, room_ = 0;
  }
  i64 room() const { return room_; }

 private:
  float* data_ = nullptr;
  i64 room_ = 0;
};

constexpr i64 kKeptFloats = 1 << 22;  // that a thread keeps for its next task

// The use of a thread's own room by one task: a large one is given back behind it.
class Use {
 public:
  explicit Use(Floats& room) : room_(room) {}
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (room_.room() > kKeptFloats) room_.release();
  }

 private:
  Floats& room_;
};

}  // namespace jaxnets
