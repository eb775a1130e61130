// Decodes one token per row on the CPU, with every row in a slot of its own. Its reference is the plain block of
// decoder.cc with a KvCache.
#pragma once
#include "model/fast/packed-reader.h"

namespace palm {

class PackedDecodeStep : public DecodeStep {
 public:
  // Begins behind what `cache` holds, whose row i is repeated `samples` times.
  PackedDecodeStep(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed,
                   PackedReader::Embed embed, const Scope* scope, const KvCache& cache, int64_t samples, bool int8);

  void refresh() override { reader_.refresh(); }
  Tensor next_logits(const Tensor& tokens) override;
  void keep_rows(const Tensor& rows) override;

 private:
  PackedReader reader_;
  const Scope* scope_;
  TokenRows rows_;  // the next tokens
};

}  // namespace palm
