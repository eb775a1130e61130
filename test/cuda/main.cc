// Every CUDA kernel on the CPU, under as many schedules as asked for: `cuda-kernels SEEDS`. With `planted`, faults that
// the emulator has to see: it fails where one stays unseen. `race` and `bound` are faults for a sanitizer to end.
#include "support.h"

static float neighbours(bool barrier) {
  static float shared[64];
  Array<float> sums(64);
  emu::run({1, 64, 0}, [&] {
    shared[threadIdx.x] = static_cast<float>(threadIdx.x);
    if (barrier) __syncthreads();
    sums[threadIdx.x] = shared[(threadIdx.x + 33) % 64];
    __syncthreads();
    shared[threadIdx.x] = -1;
  });
  float wrong = 0;
  for (unsigned t = 0; t < 64; ++t) wrong += sums[t] != static_cast<float>((t + 33) % 64);
  return wrong;
}

template <class Work>
static bool refused(const Work& work) {
  try {
    work();
  } catch (const std::exception&) {
    return true;
  }
  return false;
}

static void planted() {
  expect(neighbours(true) == 0, "planted", "a right kernel is called wrong");
  expect(neighbours(false) > 0, "planted", "a missing barrier stays unseen");
  expect(refused([] { emu::run({1, 64, 48 * 1024 + 16}, [] {}); }), "planted", "too much shared memory is granted");
  expect(refused([] { emu::run({1, 48, 0}, [] {}); }), "planted", "half a warp is granted");
  expect(refused([] { emu::run({1, 2048, 0}, [] {}); }), "planted", "too many threads are granted");
  expect(refused([] {
           emu::run({1, 64, 0}, [] { threadIdx.x % 2 ? __syncwarp() : __syncthreads(); });
         }),
         "planted", "threads that wait at different barriers stay unseen");
}

static void read_behind() {
  Array<float> x(64), y(64);
  x.draw();
  emu::run({1, 64, 0}, [&] { y[threadIdx.x] = x[threadIdx.x + 1]; });
}

int main(int count, char** words) {
  const std::string word = count > 1 ? words[1] : "1";
  if (word == "planted") {
    planted();
  } else if (word == "race") {
    neighbours(false);
  } else if (word == "bound") {
    read_behind();
  } else {
    for (int seed = 1; seed <= std::stoi(word); ++seed) {
      emu::seed = seed * 977;
      rng.seed(seed);
      norm_tests(), rotary_tests(), activation_tests(), log_prob_tests(), adam_w_tests(), decode_attention_tests();
      sample_tests();
    }
  }
  std::printf("%d failed\n", failures);
  return failures > 0;
}
