#include "kernels/cuda/device.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/table.h"

namespace palm::cuda {

constexpr float kNothing = -std::numeric_limits<float>::infinity();
constexpr int kMaxThreads = 512;  // threads per block
constexpr int kGroups = 32;       // groups of neighbouring threads, for a two-level search

// A row of logits: thread 0 owns the first run of logits, thread 1 the next, and so on.
template <class T, int kPack>
struct SampleJob {
  const T* logits;
  const int64_t width;
  const float inverse;  // of the temperature; 0 for greedy sampling
  double* mass;         // shared: the weights of the threads' runs, then of groups of threads
  float top = 0;        // the max logit; NaN if any logit is not finite

  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ int64_t first(int thread) const {
    const int64_t each = (width + threads() - 1) / threads();
    return min(width, thread * ((each + kPack - 1) / kPack * kPack));
  }
  __device__ float weight(float x) const { return inverse == 0 ? x == top : expf((x - top) * inverse); }

  template <class Body>
  __device__ void each_logit(int thread, const Body& body) const {
    for (int64_t i = first(thread); i < first(thread + 1); i += kPack) {
      const auto pack = load<kPack>(logits + i);
      for (int k = 0; k < kPack; ++k) body(i + k, pack[k]);
    }
  }

  __device__ void find_top() {
    const float nothing[2] = {kNothing, 0.0f};
    float largest[2] = {kNothing, 0.0f};  // the second entry becomes NaN if any x is not finite: x − x is 0 or NaN
    each_logit(threadIdx.x, [&](int64_t, float x) {
      largest[0] = fmaxf(largest[0], x);
      largest[1] += x - x;
    });
    block_reduce(largest, nothing, [](float(&a)[2], const float(&b)[2]) {
      a[0] = fmaxf(a[0], b[0]);
      a[1] += b[1];
    });
    top = largest[0] + largest[1];
  }

  __device__ void weigh() const {
    float own = 0;
    each_logit(threadIdx.x, [&](int64_t, float x) { own += weight(x); });
    mass[threadIdx.x] = own;
    __syncthreads();
    if (threadIdx.x < kGroups) {
      const int size = threads() / kGroups;
      double sum = 0;
      for (int i = 0; i < size; ++i) sum += mass[threadIdx.x * size + i];
      mass[threads() + threadIdx.x] = sum;
    }
    __syncthreads();
  }

  __device__ double total() const {
    double sum = 0;
    for (int g = 0; g < kGroups; ++g) sum += mass[threads() + g];
    return sum;
  }

  // The index at which the cumulative sum of `count` masses first exceeds `wanted`, otherwise the last with any mass;
  // `before` becomes the sum of the masses before it.
  __device__ static int reach(const double* masses, int count, double wanted, double& before) {
    int last = 0;
    double sum = before;
    for (int i = 0; i < count; ++i) {
      if (masses[i] > 0) {
        last = i;
        before = sum;
      }
      if (sum + masses[i] > wanted) break;
      sum += masses[i];
    }
    return last;
  }

  // The first token at which the cumulative weight exceeds `wanted`.
  __device__ int64_t token_at(double wanted) const {
    const int size = threads() / kGroups;
    double before = 0;
    const int group = reach(mass + threads(), kGroups, wanted, before);
    const int thread = group * size + reach(mass + group * size, size, wanted, before);
    int64_t token = first(thread);
    bool reached = false;
    each_logit(thread, [&](int64_t i, float x) {
      const double own = weight(x);
      if (reached || !(own > 0)) return;
      token = i;
      before += own;
      reached = before > wanted;
    });
    return token;
  }
};

// One block per row.
template <class T, int kPack>
__global__ void __launch_bounds__(kMaxThreads) sample_rows(SampleArgs args, int64_t begin, int64_t end) {
  for (int64_t row = begin + blockIdx.x; row < end; row += gridDim.x) {
    SampleJob<T, kPack> job{static_cast<const T*>(args.logits) + row * args.width, args.width, args.inverse_temperature,
                            reinterpret_cast<double*>(dynamic_shared())};
    job.find_top();
    job.weigh();
    if (threadIdx.x == 0) {
      const bool greedy = job.inverse == 0;
      const double total = job.total();
      const int64_t token = job.token_at(greedy ? 0 : args.uniform[row] * total);
      float logit;
      convert(job.logits[token], logit);
      args.token[row] = token;
      args.log_prob[row] =
          greedy ? job.top - job.top : (logit - job.top) * job.inverse - static_cast<float>(log(total));
    }
    __syncthreads();  // the next row reuses shared memory
  }
}

template <class T>
void sample(const SampleArgs& args, int64_t begin, int64_t end) {
  by_pack<T>(fits_packs<T>(args.logits, args.width, args.width), [&](auto pack) {
    const int64_t threads = threads_for(args.width, pack, kMaxThreads);
    const int64_t shared = (threads + kGroups) * static_cast<int64_t>(sizeof(double));
    start(args.logits, {end - begin, threads, shared}, sample_rows<T, pack>, args, begin, end);
  });
}

PALM_CUDA_KERNEL(sample, SampleArgs);

}  // namespace palm::cuda
