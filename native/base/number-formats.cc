#include "base/number-formats.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Float8_e4m3fn.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/error.h"

namespace palm {

namespace {

constexpr int64_t kSmall = 32, kLarge = 256;  // numbers in a block

template <class T>
T load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

float half(const uint8_t* bytes) { return load<c10::Half>(bytes); }

void f8_e4m3(const uint8_t* bytes, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(load<c10::Float8_e4m3fn>(bytes + i));
}

// 32 halves of bytes: the low ones, then the high ones.
inline int nibble(const uint8_t* packed, int64_t i) { return i < 16 ? packed[i] & 15 : packed[i - 16] >> 4; }

void q4_0(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 18, out += kSmall) {
    const float d = half(block);
    for (int64_t i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(block + 2, i) - 8);
  }
}

void q4_1(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 20, out += kSmall) {
    const float d = half(block), m = half(block + 2);
    for (int64_t i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(nibble(block + 4, i)) + m;
  }
}

void q5_0(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 22, out += kSmall) {
    const float d = half(block);
    const auto fifth = load<uint32_t>(block + 2);
    for (int64_t i = 0; i < kSmall; ++i)
      out[i] = d * static_cast<float>((nibble(block + 6, i) | static_cast<int>(fifth >> i & 1) << 4) - 16);
  }
}

void q5_1(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 24, out += kSmall) {
    const float d = half(block), m = half(block + 2);
    const auto fifth = load<uint32_t>(block + 4);
    for (int64_t i = 0; i < kSmall; ++i)
      out[i] = d * static_cast<float>(nibble(block + 8, i) | static_cast<int>(fifth >> i & 1) << 4) + m;
  }
}

void q8_0(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 34, out += kSmall) {
    const float d = half(block);
    for (int64_t i = 0; i < kSmall; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
}

// Number i of 256 numbers of two bits: 64 bytes, each with bits for four numbers that are 32 apart.
inline int pair_of_bits(const uint8_t* packed, int64_t i) {
  return packed[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
}

// Bit i of 256: 32 bytes, each with bits for eight numbers that are 32 apart.
inline int single_bit(const uint8_t* packed, int64_t i) { return packed[i % 32] >> (i / 32) & 1; }

// Number i of 256 numbers of four bits: 128 bytes, each with two numbers that are 32 apart.
inline int half_byte(const uint8_t* packed, int64_t i) { return packed[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15; }

void q2_k(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 84, out += kLarge) {
    const float d = half(block + 80), m = half(block + 82);
    for (int64_t part = 0; part < 16; ++part) {
      const float scale = d * static_cast<float>(block[part] & 15), minimum = m * static_cast<float>(block[part] >> 4);
      for (int64_t i = part * 16; i < part * 16 + 16; ++i)
        out[i] = scale * static_cast<float>(pair_of_bits(block + 16, i)) - minimum;
    }
  }
}

void q3_k(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 110, out += kLarge) {
    const uint8_t* const scales = block + 96;
    const float d = half(block + 108);
    for (int64_t part = 0; part < 16; ++part) {
      const int low = scales[part % 8] >> (part / 8 * 4) & 15, high = scales[8 + part % 4] >> (part / 4 * 2) & 3;
      const float scale = d * static_cast<float>((low | high << 4) - 32);
      for (int64_t i = part * 16; i < part * 16 + 16; ++i)
        out[i] = scale * static_cast<float>((pair_of_bits(block + 32, i) | single_bit(block, i) << 2) - 4);
    }
  }
}

// Scale and minimum `part` of the eight that are packed to six bits each: 0 to 3 in the low bits of two groups of four
// bytes; 4 to 7 half in a third group, half in the high bits of the first two.
struct ScaleMinimum {
  int scale, minimum;
};
ScaleMinimum six_bits(const uint8_t* packed, int64_t part) {
  if (part < 4) return {packed[part] & 63, packed[part + 4] & 63};
  return {(packed[part + 4] & 15) | (packed[part - 4] >> 6) << 4, packed[part + 4] >> 4 | (packed[part] >> 6) << 4};
}

void q4_k(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 144, out += kLarge) {
    const float d = half(block), m = half(block + 2);
    for (int64_t part = 0; part < 8; ++part) {
      const auto six = six_bits(block + 4, part);
      const float scale = d * static_cast<float>(six.scale), minimum = m * static_cast<float>(six.minimum);
      for (int64_t i = part * 32; i < part * 32 + 32; ++i)
        out[i] = scale * static_cast<float>(half_byte(block + 16, i)) - minimum;
    }
  }
}

void q5_k(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 176, out += kLarge) {
    const float d = half(block), m = half(block + 2);
    for (int64_t part = 0; part < 8; ++part) {
      const auto six = six_bits(block + 4, part);
      const float scale = d * static_cast<float>(six.scale), minimum = m * static_cast<float>(six.minimum);
      for (int64_t i = part * 32; i < part * 32 + 32; ++i)
        out[i] = scale * static_cast<float>(half_byte(block + 48, i) | single_bit(block + 16, i) << 4) - minimum;
    }
  }
}

void q6_k(const uint8_t* block, float* out, int64_t count) {
  for (; count > 0; --count, block += 210, out += kLarge) {
    const float d = half(block + 208);
    for (int64_t part = 0; part < 16; ++part) {
      const float scale = d * static_cast<float>(static_cast<int8_t>(block[192 + part]));
      for (int64_t i = part * 16; i < part * 16 + 16; ++i) {
        const int low = block[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
        out[i] = scale * static_cast<float>((low | pair_of_bits(block + 128, i) << 4) - 32);
      }
    }
  }
}

struct Format {
  const char* name;
  int64_t numbers, bytes;  // of a block
  void (*decode)(const uint8_t* bytes, float* out, int64_t blocks);
};
constexpr std::array kFormats{
    Format{"F64", 1, 8, nullptr},  // by ATen, as are the next three
    Format{"F32", 1, 4, nullptr},      Format{"F16", 1, 2, nullptr},      Format{"BF16", 1, 2, nullptr},
    Format{"F8_E4M3", 1, 1, f8_e4m3},  Format{"Q4_0", kSmall, 18, q4_0},  Format{"Q4_1", kSmall, 20, q4_1},
    Format{"Q5_0", kSmall, 22, q5_0},  Format{"Q5_1", kSmall, 24, q5_1},  Format{"Q8_0", kSmall, 34, q8_0},
    Format{"Q2_K", kLarge, 84, q2_k},  Format{"Q3_K", kLarge, 110, q3_k}, Format{"Q4_K", kLarge, 144, q4_k},
    Format{"Q5_K", kLarge, 176, q5_k}, Format{"Q6_K", kLarge, 210, q6_k},
};

const Format& format_named(const std::string& name) {
  const auto* const found =
      std::find_if(kFormats.begin(), kFormats.end(), [&](const auto& f) { return name == f.name; });
  if (found != kFormats.end()) return *found;
  std::string names;
  for (const auto& format : kFormats) names += std::string(names.empty() ? "" : ", ") + format.name;
  throw Error(ErrorKind::argument, "format", name, "one of " + names);
}

// Numbers that are worth a thread, and that are rounded to bfloat16 at once.
constexpr int64_t kGrain = 32'768, kStaged = 1024;

void decode_blocks(const Format& format, const uint8_t* bytes, int64_t blocks, c10::BFloat16* out) {
  float staged[kStaged];
  for (int64_t left = blocks; left > 0;) {
    const int64_t some = std::min(left, kStaged / format.numbers);
    format.decode(bytes, staged, some);
    std::copy_n(staged, some * format.numbers, out);
    bytes += some * format.bytes;
    out += some * format.numbers;
    left -= some;
  }
}

// To a contiguous float32 or bfloat16 tensor on the CPU.
void decode_all(const Format& format, const uint8_t* bytes, int64_t blocks, const Tensor& target) {
  at::parallel_for(0, blocks, kGrain / format.numbers, [&](int64_t begin, int64_t end) {
    const uint8_t* const from = bytes + begin * format.bytes;
    const int64_t to = begin * format.numbers;
    if (target.scalar_type() == at::kFloat)
      format.decode(from, target.data_ptr<float>() + to, end - begin);
    else
      decode_blocks(format, from, end - begin, target.data_ptr<c10::BFloat16>() + to);
  });
}

bool decodes_to(const Tensor& target) {
  const at::ScalarType dtype = target.scalar_type();
  return target.device().is_cpu() && target.is_contiguous() && (dtype == at::kFloat || dtype == at::kBFloat16);
}

// The type that stores numbers as `name` says, where there is one.
std::optional<at::ScalarType> type_named(const std::string& name) {
  if (name == "F64") return at::kDouble;
  if (name == "F32") return at::kFloat;
  if (name == "F16") return at::kHalf;
  if (name == "BF16") return at::kBFloat16;
  return std::nullopt;
}

}  // namespace

void decode_numbers(const std::string& name, uint8_t* bytes, int64_t length, const Tensor& target) {
  const Format& format = format_named(name);
  if (!at::isFloatingType(target.scalar_type()))
    throw Error(ErrorKind::dtype, "target", c10::toString(target.scalar_type()), "a tensor of floating point");
  const int64_t blocks = length / format.bytes;
  if (length % format.bytes != 0 || blocks * format.numbers != target.numel())
    throw Error(ErrorKind::shape, "bytes", std::to_string(length) + " bytes of " + name,
                "blocks of " + std::to_string(format.bytes) + " bytes with the " + std::to_string(target.numel()) +
                    " numbers of the tensor");
  if (const auto type = type_named(name)) {
    target.copy_(at::from_blob(bytes, target.sizes(), at::TensorOptions(*type)));
  } else if (decodes_to(target)) {
    decode_all(format, bytes, blocks, target);
  } else {
    const Tensor staged = at::empty(target.sizes(), at::TensorOptions(at::kFloat));
    decode_all(format, bytes, blocks, staged);
    target.copy_(staged);
  }
}

}  // namespace palm
