// How much more memory this process may use: what the machine has left, within the limits of its control groups.
#pragma once
#include <cstdint>

namespace palm {

// In bytes. Reads a few files of /proc and /sys; returns INT64_MAX if none of them exists.
int64_t available_memory();

// Resident bytes of this process that are not backed by a file.
int64_t resident_memory();

}  // namespace palm
