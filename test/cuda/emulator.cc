#include <numeric>

emu::Index threadIdx, blockIdx, blockDim, gridDim;

// Of the sanitizers, where the kernels are compiled with one: what switches stacks has to tell them. To the thread
// sanitizer a fiber is a thread, which nothing but a barrier brings into an order with the others.
extern "C" {
#define SANITIZER __attribute__((weak)) extern
SANITIZER void* __tsan_get_current_fiber();
SANITIZER void* __tsan_create_fiber(unsigned flags);
SANITIZER void __tsan_switch_to_fiber(void* fiber, unsigned flags);
SANITIZER void __tsan_acquire(void* at);
SANITIZER void __tsan_release(void* at);
SANITIZER void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t bytes);
SANITIZER void __sanitizer_finish_switch_fiber(void* saved, const void** old_bottom, size_t* old_bytes);
#undef SANITIZER
}

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

// What is put aside when another fiber goes on.
struct Context {
  void* top = nullptr;
  const void* bottom = nullptr;
  size_t bytes = 0;
  void* of_address_sanitizer = nullptr;
  void* of_thread_sanitizer = nullptr;
};

enum class State { ready, at_block, at_warp, done };
struct Fiber {
  std::vector<char> stack = std::vector<char>(64 * 1024);
  Context context;
  State state = State::ready;
  uint32_t given = 0;
  unsigned block_waits = 0, warp_waits = 0;
};

static std::vector<std::unique_ptr<Fiber>> fibers;
static Fiber* current;
static Context scheduler;
static const std::function<void()>* body;

static void go_on(Context& from, Context& to, bool for_good = false) {
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(to.of_thread_sanitizer, /*flags: no order=*/1);
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &from.of_address_sanitizer, to.bottom, to.bytes);
  emu_switch(&from.top, to.top);
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(from.of_address_sanitizer, nullptr, nullptr);
}

// Points of order. A barrier has two, in turns: who is at the next one already must not be ordered before those who
// still leave this one.
static char block_order, at_block[2], at_warp[32][2];
static void arrive(char& point) {
  if (__tsan_release) __tsan_release(&point);
}
static void leave(char& point) {
  if (__tsan_acquire) __tsan_acquire(&point);
}

static void wait_in(State state, char& point) {
  const Index own = threadIdx;
  Fiber& fiber = *current;
  fiber.state = state;
  arrive(point);
  go_on(fiber.context, scheduler);
  leave(point);
  threadIdx = own;
}
void block_barrier() { wait_in(State::at_block, at_block[current->block_waits++ % 2]); }
void warp_barrier() { wait_in(State::at_warp, at_warp[threadIdx.x / 32][current->warp_waits++ % 2]); }
uint32_t exchange(uint32_t value, unsigned lane) {
  const unsigned own = threadIdx.x;
  fibers[own]->given = value;
  warp_barrier();
  const uint32_t other = fibers[own / 32 * 32 + lane]->given;
  warp_barrier();
  return other;
}

static void enter() {
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.bytes);
  leave(block_order);
  (*body)();
  arrive(block_order);
  current->state = State::done;
  go_on(current->context, scheduler, /*for_good=*/true);
  std::abort();
}

static void prepare(Fiber& fiber) {
  const auto end = reinterpret_cast<uintptr_t>(fiber.stack.data() + fiber.stack.size()) & ~uintptr_t{15};
  auto** const frame = reinterpret_cast<void**>(end);
  frame[-1] = nullptr;                               // enter() does not return
  frame[-2] = reinterpret_cast<void*>(&enter);       // where the first switch goes
  for (int i = 3; i <= 8; ++i) frame[-i] = nullptr;  // registers
  fiber.context.top = frame - 8;
  fiber.context.bottom = fiber.stack.data();
  fiber.context.bytes = fiber.stack.size();
  if (__tsan_create_fiber && !fiber.context.of_thread_sanitizer)
    fiber.context.of_thread_sanitizer = __tsan_create_fiber(/*flags=*/0);
  fiber.state = State::ready;
  fiber.block_waits = fiber.warp_waits = 0;
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
  if (__tsan_get_current_fiber) scheduler.of_thread_sanitizer = __tsan_get_current_fiber();
  arrive(block_order);
  for (int64_t t = 0; t < threads; ++t) prepare(*fibers[t]);
  body = &kernel;
  const auto is_done = [](const auto& fiber) { return fiber->state == State::done; };
  while (!std::all_of(fibers.begin(), fibers.begin() + threads, is_done)) {
    bool moved = false;
    for (const int64_t t : shuffled(threads, random)) {
      if (fibers[t]->state != State::ready) continue;
      current = fibers[t].get();
      threadIdx = {static_cast<unsigned>(t), 0, 0};
      go_on(scheduler, current->context);
      moved = true;
    }
    for (int64_t warp = 0; warp < threads; warp += 32) moved |= release(warp, warp + 32, State::at_warp);
    moved |= release(0, threads, State::at_block);
    if (!moved) throw std::runtime_error("threads of a block wait at different barriers");
  }
  leave(block_order);
}

}  // namespace emu
