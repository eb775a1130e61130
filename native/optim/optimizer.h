// What all optimizers share: parameters, float32 master copies of bfloat16 parameters, state that a checkpoint can
// save, and a step that changes nothing if the gradient norm or a loss is not finite. That is checked on the device;
// all numbers the caller wants are copied to the host once, after all work of the step is queued. If the weights were
// modified between steps, the next step starts from the new values.
#pragma once
#include <string>

#include "base/parameter.h"
#include "optim/grad-norm.h"

namespace palm {

struct NamedTensor {
  std::string name;
  Tensor tensor;
};

class Optimizer {
 public:
  explicit Optimizer(ParameterList parameters);  // allocates only; `initialise` copies the parameters
  virtual ~Optimizer() = default;

  void initialise();

  struct NonFinite {
    int64_t parameter;  // its index in the list of parameters
    bool gradient;      // true if its gradient is not finite, false if its values are not
  };
  struct StepResult {
    double grad_norm;  // before clipping
    bool skipped;      // something was not finite: parameters and state are unchanged
    // The first non-finite parameter, otherwise the first non-finite gradient; nothing if only the loss was not finite.
    std::optional<NonFinite> non_finite;
    std::vector<int64_t> unreached;         // parameters no backward pass reached since zero_grad: unchanged
    std::vector<double> losses;             // those of StepInputs
    std::vector<std::vector<double>> read;  // those of StepInputs, row by row
  };
  // The losses whose gradients this step applies (on the host or still on a device), and tensors to copy to the host
  // with them.
  struct StepInputs {
    std::optional<double> loss;
    std::vector<Tensor> losses;  // scalars
    std::vector<Tensor> read;    // other tensors whose numbers the caller wants
  };
  StepResult step(double lr, std::optional<double> max_grad_norm, const StepInputs& inputs);
  void zero_grad();
  std::vector<NamedTensor> state() const;  // shares memory with the optimizer's own

 protected:
  struct Slot {
    std::shared_ptr<Parameter> parameter;
    Tensor weight;               // float32 master copy, or the parameter itself
    Tensor step;                 // scalar float32: number of updates so far
    Tensor exp_avg, exp_avg_sq;  // like weight
    int64_t version;             // of the parameter when this optimizer last read or wrote it
  };
  // Updates the weights of these slots from their gradients, including the model's rounded copies (`publish`).
  virtual void update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) = 0;
  // The gradients in the precision of the weights.
  static std::vector<Tensor> gradients(const std::vector<Slot*>& slots);
  // Rounds master weights to their bfloat16 parameters, unless the step is broken.
  static void publish(const std::vector<Slot*>& slots, const GradNorm& norm);

 private:
  void refresh_masters();
  std::optional<NonFinite> first_non_finite(const std::vector<Slot*>& reached, const Tensor& norms, bool of_loss) const;
  std::vector<Slot> slots_;
};

}  // namespace palm
