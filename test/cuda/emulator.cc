#include <numeric>
#ifdef EMULATE_WITH_THREADS
#include <barrier>
#include <thread>
#endif

#ifdef EMULATE_WITH_THREADS
thread_local emu::Index threadIdx;
#else
emu::Index threadIdx;
#endif
emu::Index blockIdx, blockDim, gridDim;

namespace emu {

uint64_t seed = 1;
int64_t static_bytes = 0;
std::vector<float4> dynamic;

static void check(const Launch& launch) {
  const auto [blocks, threads, shared] = launch;
  const bool fits = threads % 32 == 0 && threads >= 32 && threads <= 1024 && blocks >= 1 && blocks <= INT32_MAX &&
                    shared + static_bytes <= 48 * 1024;
  if (!fits)
    throw std::runtime_error("launch refused: " + std::to_string(blocks) + " blocks of " + std::to_string(threads) +
                             " threads with " + std::to_string(shared) + " + " + std::to_string(static_bytes) +
                             " bytes of shared memory");
}

static std::vector<int64_t> shuffled(int64_t count, std::mt19937_64& random) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  return order;
}

static void run_block(int64_t threads, const std::function<void()>& kernel, std::mt19937_64& random);

void run(const Launch& launch, const std::function<void()>& kernel) {
  check(launch);
  blockDim = {static_cast<unsigned>(launch.threads), 1, 1};
  gridDim = {static_cast<unsigned>(launch.blocks), 1, 1};
  std::mt19937_64 random(seed);
  for (const int64_t block : shuffled(launch.blocks, random)) {
    blockIdx.x = static_cast<unsigned>(block);
    dynamic.assign(launch.shared_bytes / 16 + 1, float4{NAN, NAN, NAN, NAN});
    run_block(launch.threads, kernel, random);
  }
}

#ifdef EMULATE_WITH_THREADS

static std::barrier<>* whole;
static std::vector<std::unique_ptr<std::barrier<>>> warps;
static std::vector<uint32_t> given;

void block_barrier() { whole->arrive_and_wait(); }
void warp_barrier() { warps[threadIdx.x / 32]->arrive_and_wait(); }
uint32_t exchange(uint32_t value, unsigned lane) {
  given[threadIdx.x] = value;
  warp_barrier();
  const uint32_t other = given[threadIdx.x / 32 * 32 + lane];
  warp_barrier();
  return other;
}

static void run_block(int64_t threads, const std::function<void()>& kernel, std::mt19937_64&) {
  std::barrier<> all(threads);
  whole = &all;
  given.assign(threads, 0);
  warps.clear();
  for (int64_t w = 0; w < threads / 32; ++w) warps.push_back(std::make_unique<std::barrier<>>(32));
  std::vector<std::thread> team;
  for (int64_t t = 0; t < threads; ++t)
    team.emplace_back([&, t] {
      threadIdx.x = static_cast<unsigned>(t);
      kernel();
    });
  for (auto& thread : team) thread.join();
}

#else

// A switch of stacks: what a called function must keep, and nothing else.
extern "C" void emu_switch(void** save, void* load);
asm(R"(
.text
.globl emu_switch
.type emu_switch,@function
emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

enum class State { ready, at_block, at_warp, done };
struct Fiber {
  std::vector<char> stack = std::vector<char>(64 * 1024);
  void* top = nullptr;
  State state = State::ready;
  uint32_t given = 0;
};

static std::vector<std::unique_ptr<Fiber>> fibers;
static Fiber* current;
static void* scheduler;
static const std::function<void()>* body;

static void wait_in(State state) {
  const Index own = threadIdx;
  current->state = state;
  emu_switch(&current->top, scheduler);
  threadIdx = own;
}
void block_barrier() { wait_in(State::at_block); }
void warp_barrier() { wait_in(State::at_warp); }
uint32_t exchange(uint32_t value, unsigned lane) {
  const unsigned own = threadIdx.x;
  fibers[own]->given = value;
  warp_barrier();
  const uint32_t other = fibers[own / 32 * 32 + lane]->given;
  warp_barrier();
  return other;
}

static void enter() {
  (*body)();
  current->state = State::done;
  emu_switch(&current->top, scheduler);
  std::abort();
}

static void prepare(Fiber& fiber) {
  const auto end = reinterpret_cast<uintptr_t>(fiber.stack.data() + fiber.stack.size()) & ~uintptr_t{15};
  auto** const frame = reinterpret_cast<void**>(end);
  frame[-1] = nullptr;                               // enter() does not return
  frame[-2] = reinterpret_cast<void*>(&enter);       // where the first switch goes
  for (int i = 3; i <= 8; ++i) frame[-i] = nullptr;  // registers
  fiber.top = frame - 8;
  fiber.state = State::ready;
}

// Lets the threads begin … end − 1 go on where all that are left wait in this state.
static bool release(int64_t begin, int64_t end, State state) {
  bool any = false;
  for (int64_t t = begin; t < end; ++t) {
    if (fibers[t]->state == State::done) continue;
    if (fibers[t]->state != state) return false;
    any = true;
  }
  for (int64_t t = begin; any && t < end; ++t)
    if (fibers[t]->state == state) fibers[t]->state = State::ready;
  return any;
}

static void run_block(int64_t threads, const std::function<void()>& kernel, std::mt19937_64& random) {
  while (static_cast<int64_t>(fibers.size()) < threads) fibers.push_back(std::make_unique<Fiber>());
  for (int64_t t = 0; t < threads; ++t) prepare(*fibers[t]);
  body = &kernel;
  const auto is_done = [](const auto& fiber) { return fiber->state == State::done; };
  while (!std::all_of(fibers.begin(), fibers.begin() + threads, is_done)) {
    bool moved = false;
    for (const int64_t t : shuffled(threads, random)) {
      if (fibers[t]->state != State::ready) continue;
      current = fibers[t].get();
      threadIdx = {static_cast<unsigned>(t), 0, 0};
      emu_switch(&scheduler, current->top);
      moved = true;
    }
    for (int64_t warp = 0; warp < threads; warp += 32) moved |= release(warp, warp + 32, State::at_warp);
    moved |= release(0, threads, State::at_block);
    if (!moved) throw std::runtime_error("threads of a block wait at different barriers");
  }
}

#endif

}  // namespace emu
