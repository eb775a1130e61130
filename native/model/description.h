// The description of a decoder as data: everything that native code must know to compute a model of any family.
// src/families/ derives it from a configuration. PaLM is one: parallel blocks, one head of keys and values, xPos.
#pragma once
#include "base/tensor.h"

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/activation.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"

namespace palm {

// Which activations of a block the backward pass recomputes instead of keeping them.
enum class Recompute {
  none,       // keep everything
  selective,  // recompute norms and activations: cheap, and saves half of the memory
  full,       // keep only the block's input: the least memory, but one more forward pass
};

// Where the norms of a block stand; f is attention or the feed-forward.
enum class BlockForm {
  pre,       // x + f(norm x)
  post,      // x + norm(f x)
  sandwich,  // x + norm(f(norm x))
  after,     // norm(x + f x)
};

// What one norm of the queries and keys spans.
enum class QkNormOver {
  head,      // each head, all with the same weights [K]
  per_head,  // each head with weights of its own [HK]
  all,       // all heads at once, weights [HK]
};

struct QkNormDescription {
  QkNormOver over;
  NormDescription norm;
};

// What differs from layer to layer.
struct LayerDescription {
  int64_t window;  // each token attends to the last `window` tokens, itself included; 0: to all
  int64_t rope;    // index into DecoderDescription::ropes; -1: no rotary positions
  double scale;    // of the scores
};

// A learned embedding per position: position t has row t + offset.
struct PositionsDescription {
  int64_t rows, offset;
};

struct DecoderDescription {
  int64_t num_tokens;   // V, rows of the token embedding
  int64_t used_tokens;  // the first rows, which can be drawn; the others pad the table and have no logits
  int64_t dim;          // D
  int64_t depth;        // L
  int64_t heads;        // H
  int64_t kv_heads;     // Kv; each is shared by H / Kv consecutive query heads
  int64_t dim_head;     // K, even with rotary positions
  int64_t ff;           // F
  bool causal;          // false: every token sees every other; negative ids are padding

  NormDescription norm;  // every norm but those of queries and keys
  BlockForm form;
  bool parallel;            // attention and feed-forward read the same input instead of one after the other
  bool shared_norm;         // through one norm; parallel only
  bool residual_from_norm;  // the residual is the normed input (BLOOM's option)
  bool final_norm;
  bool qkv_bias, output_bias, ff_bias;
  bool gated;  // feed-forward: activation(gate) · up instead of activation(up)
  Activation activation;

  std::optional<QkNormDescription> qk_norm;
  std::optional<double> clip_qkv;  // queries, keys and values are clamped to ± this
  std::vector<RopeDescription> ropes;
  std::vector<LayerDescription> layers;           // L, or one for all layers
  std::vector<double> alibi;                      // H slopes, each added to a score times the key's position; or none
  bool alibi_rounded;                             // slope · position is rounded to bfloat16 and scaled like scores
  std::optional<double> softcap;                  // scores become softcap · tanh(score / softcap)
  std::optional<PositionsDescription> positions;  // nothing: no learned positions

  bool embedding_norm;
  double embedding_scale, residual_scale;
  int64_t embedding_dim;  // E; unlike D, there are projections from E to D and back
  bool tied;              // the head is the token embedding
  bool head_bias;
  double logit_scale;
  std::optional<double> final_softcap;  // of the logits

  int64_t ignore_index;             // target id that the loss ignores
  double attn_dropout, ff_dropout;  // in training mode only
  Recompute recompute;
  at::ScalarType dtype;
  at::Device device{at::kCPU};  // at::Device has no default constructor; always set

  const LayerDescription& layer(int64_t index) const { return layers[layers.size() == 1 ? 0 : index]; }
  int64_t query_width() const { return heads * dim_head; }               // HK
  int64_t key_width() const { return kv_heads * dim_head; }              // KvK, the same for values
  int64_t qkv_width() const { return query_width() + 2 * key_width(); }  // attention's part of the input projection
  int64_t ff_width() const { return gated ? 2 * ff : ff; }               // the feed-forward's part: up, gate
  int64_t input_width() const { return qkv_width() + ff_width(); }       // input projection: q, k, v, up, gate
  int64_t hidden_width() const { return query_width() + ff; }            // inputs of the output projection
  bool narrow_embedding() const { return embedding_dim != dim; }
  bool norm_before() const { return form == BlockForm::pre || form == BlockForm::sandwich; }
  bool norm_of_output() const { return form == BlockForm::post || form == BlockForm::sandwich; }
};

}  // namespace palm
