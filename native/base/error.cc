#include "base/error.h"

#include <algorithm>
#include <cstdio>

namespace palm {

// 512 bytes, 20.0 MiB, 4.0 PiB.
static std::string in_units(double bytes) {
  static const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(units); ++unit) bytes /= 1024;
  char text[64];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return text;
}

Error out_of_memory(std::string where, double requested, std::optional<double> available) {
  Error error(ErrorKind::memory, std::move(where), "an allocation of " + in_units(requested),
              available ? "at most the " + in_units(*available) + " available" : "a size that fits in memory",
              "Use a smaller batch, a shorter sequence or a smaller model.");
  error.requested = requested;
  error.available = available;
  return error;
}

}  // namespace palm
