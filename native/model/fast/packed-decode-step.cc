#include "model/fast/packed-decode-step.h"

#include <numeric>

namespace palm {

PackedDecodeStep::PackedDecodeStep(const Kernels& kernels, const DecoderWeights& weights, PackedWeightsCache& packed,
                                   PackedReader::Embed embed, const Scope* scope, const KvCache& cache, int64_t samples,
                                   bool int8)
    : reader_(kernels, weights, packed, std::move(embed), PackedCache(cache, samples),
              cache.lengths().size(0) * samples, int8),
      scope_(scope) {
  rows_.slot.resize(cache.lengths().size(0) * samples);
  std::iota(rows_.slot.begin(), rows_.slot.end(), 0);
  rows_.wanted = rows_.slot;
  for (const int64_t row : rows_.slot)
    rows_.position.push_back(cache.lengths().const_data_ptr<int64_t>()[row / samples]);
}

Tensor PackedDecodeStep::next_logits(const Tensor& tokens) {
  const Tensor ids = reader_.known(tokens);
  rows_.token.assign(ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel());
  const Tensor logits = reader_.read(scope_, rows_);
  for (int64_t& position : rows_.position) ++position;
  return logits;
}

void PackedDecodeStep::keep_rows(const Tensor& rows) {
  TokenRows kept;
  for (int64_t i = 0; i < rows.numel(); ++i) {
    const int64_t row = rows.const_data_ptr<int64_t>()[i];
    kept.slot.push_back(rows_.slot[row]);
    kept.position.push_back(rows_.position[row]);
    kept.wanted.push_back(i);
  }
  rows_ = std::move(kept);
}

}  // namespace palm
