// What all optimizers share: parameters, float32 master copies of bfloat16 ones, state that a checkpoint can save, and
// a step that moves nothing when the gradient norm or the loss is not finite. The norm is judged on the device; it
// crosses to the host once, with all numbers that the
// caller wants to know, after all work of the step is queued. What others write to the weights between steps is
// where the next step starts from.
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
  explicit Optimizer(ParameterList parameters);  // allocates; `initialise` reads the parameters
  virtual ~Optimizer() = default;

  void initialise();

  struct NonFinite {
    int64_t parameter;  // its place in the list of parameters
    bool gradient;      // whether its gradient is meant, not its values
  };
  struct StepResult {
    double grad_norm;  // before clipping
    bool skipped;      // something was not finite: no parameter and no state has changed
    // The first parameter that is not finite, else the first gradient; nothing where only the loss was not.
    std::optional<NonFinite> non_finite;
    std::vector<int64_t> unreached;         // parameters that no backward pass has reached since zero_grad: they stay
    std::vector<double> losses;             // of Told
    std::vector<std::vector<double>> read;  // of Told, row by row
  };
  // What a step is told of what its gradients are of, and what it tells in turn: on the host, or still on a device.
  struct Told {
    std::optional<double> loss;
    std::vector<Tensor> losses;  // scalars
    std::vector<Tensor> read;    // wanted as numbers, too
  };
  StepResult step(double lr, std::optional<double> max_grad_norm, const Told& told);
  void zero_grad();
  std::vector<NamedTensor> state() const;  // shares memory with the optimizer's own

 protected:
  struct Slot {
    std::shared_ptr<Parameter> parameter;
    Tensor weight;               // float32 master copy, or the parameter itself
    Tensor step;                 // scalar float32: updates so far
    Tensor exp_avg, exp_avg_sq;  // like weight
    int64_t version;             // of the parameter when this optimizer last read or wrote it
  };
  // Moves the weights of these slots by their gradients, and what the model reads with them (`publish`).
  virtual void update(const std::vector<Slot*>& slots, const GradNorm& norm, double lr) = 0;
  // Their gradients in the precision of their weights.
  static std::vector<Tensor> gradients(const std::vector<Slot*>& slots);
  // Rounds master weights to the bfloat16 parameters that they stand for, unless the step is broken.
  static void publish(const std::vector<Slot*>& slots, const GradNorm& norm);

 private:
  void read_what_others_wrote();
  std::optional<NonFinite> first_non_finite(const std::vector<Slot*>& reached, const Tensor& norms, bool of_loss) const;
  std::vector<Slot> slots_;
};

}  // namespace palm
