// Which feature of a decoder keeps it from a fast path.
#pragma once
#include <initializer_list>

#include "model/description.h"

namespace palm {

struct Feature {
  bool present;
  const char* words;
};

// The words of the first feature that is present; null if none is.
inline const char* first_present(std::initializer_list<Feature> features) {
  for (const Feature& feature : features)
    if (feature.present) return feature.words;
  return nullptr;
}

// Norms elsewhere than before attention and before the feed-forward.
inline Feature norms_elsewhere(const DecoderDescription& decoder) {
  return {decoder.form != BlockForm::pre, decoder.form == BlockForm::sandwich ? "norms before and after each branch"
                                          : decoder.form == BlockForm::post   ? "norms after each branch"
                                                                              : "norms of sums"};
}

}  // namespace palm
