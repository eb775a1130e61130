// How much memory this process may still take: what the machine has left, within the limits of its control groups.
#pragma once
#include <cstdint>

namespace palm {

// Bytes. Reads a few files of /proc and /sys. INT64_MAX where none of them is there.
int64_t available_memory();

// Bytes of this process that lie in memory and belong to no file.
int64_t resident_memory();

}  // namespace palm
