// How another thread ends what is being generated.
#pragma once
#include <atomic>

namespace palm {

// Set by another thread; checked before every token.
using Cancel = std::atomic<bool>;

}  // namespace palm
