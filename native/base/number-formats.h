// Numbers as files of models store them, and their decoding.
//
//   F64, F32, F16, BF16   little-endian
//   F8_E4M3               4 bits of exponent, 3 of mantissa, no infinity
//
// The others are GGUF's. Each block of consecutive numbers has a scale d (float16), some also a minimum m:
//
//   format  numbers  bytes  layout (low bits first)                                          x
//   Q4_0    32       18     d, 16 bytes of q: low halves, then high halves                   d·(q − 8)
//   Q4_1    32       20     d, m, q as in Q4_0                                               d·q + m
//   Q5_0    32       22     d, 32 fifth bits, q as in Q4_0                                   d·(q − 16)
//   Q5_1    32       24     d, m, 32 fifth bits, q as in Q4_0                                d·q + m
//   Q8_0    32       34     d, 32 signed bytes q                                             d·q
//   Q2_K    256      84     16 (scale, minimum) of 4 bits, 256 q of 2 bits, d, m             d·s·q − m·t
//   Q3_K    256      110    256 third bits, 256 q of 2 bits, 16 scales of 6 bits, d          d·(s − 32)·(q − 4)
//   Q4_K    256      144    d, m, 8 (scale, minimum) of 6 bits, 256 q of 4 bits              d·s·q − m·t
//   Q5_K    256      176    d, m, 8 (scale, minimum) of 6 bits, 256 fifth bits, 256 q        d·s·q − m·t
//   Q6_K    256      210    256 q of 4 bits, 256 upper pairs of bits, 16 signed scales, d    d·s·(q − 32)
//
// Every product and sum is rounded to float32, in this order, as the Python package `gguf` does.
#pragma once
#include "base/tensor.h"

#include <cstdint>
#include <string>

namespace palm {

// Decodes `length` bytes of numbers of `format` to the elements of `target`, row by row, converting them to its type and
// device. `bytes` is not changed.
// Throws ErrorKind::argument for an unknown format, ErrorKind::dtype for a target that is not of floating point,
// ErrorKind::shape for bytes that are no whole number of blocks, or not as many numbers as the target has.
void decode_numbers(const std::string& format, uint8_t* bytes, int64_t length, const Tensor& target);

}  // namespace palm
