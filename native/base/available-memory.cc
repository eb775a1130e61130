#include "base/available-memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

namespace palm {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// The number in a file; nothing for "max" and for missing files.
static std::optional<int64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number) return number;
  return {};
}

// The value of `name` in a file of "name value" lines.
static std::optional<int64_t> number_after(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word;
    int64_t number = 0;
    if (words >> word >> number && word == name) return number;
  }
  return {};
}

struct GroupFiles {
  const char *limit, *usage, *cache;  // `cache`: the line of memory.stat that counts reclaimable memory
};
constexpr GroupFiles kFirstVersion{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};
constexpr GroupFiles kSecondVersion{"/memory.max", "/memory.current", "inactive_file"};

static int64_t left_in(const std::string& folder, const GroupFiles& files) {
  const auto limit = number_in(folder + files.limit);
  const auto usage = number_in(folder + files.usage);
  if (!limit || !usage) return kUnlimited;
  const int64_t cache = number_after(folder + "/memory.stat", files.cache).value_or(0);
  return std::max<int64_t>(*limit - *usage + cache, 0);
}

// The minimum over a group and its ancestors. Inside a container the path is often the host's; the group mounted there
// is then the container's own.
static int64_t left_in_groups(const std::string& mount, std::string path, const GroupFiles& files) {
  int64_t left = left_in(mount, files);
  for (; path.size() > 1; path.erase(path.rfind('/'))) left = std::min(left, left_in(mount + path, files));
  return left;
}

static int64_t left_in_own_groups() {
  int64_t left = kUnlimited;
  std::ifstream groups("/proc/self/cgroup");  // lines of the form number:controllers:path
  for (std::string line; std::getline(groups, line);) {
    const size_t controllers = line.find(':') + 1, path = line.find(':', controllers) + 1;
    if (controllers == 0 || path == 0) continue;
    const std::string names = line.substr(controllers, path - 1 - controllers);
    if (names.empty()) {
      left = std::min(left, left_in_groups("/sys/fs/cgroup", line.substr(path), kSecondVersion));
    } else if (names == "memory") {
      left = std::min(left, left_in_groups("/sys/fs/cgroup/memory", line.substr(path), kFirstVersion));
    }
  }
  return left;
}

int64_t available_memory() {
  const auto kibibytes = number_after("/proc/meminfo", "MemAvailable:");
  return std::min(kibibytes ? *kibibytes * 1024 : kUnlimited, left_in_own_groups());
}

int64_t resident_memory() {
  std::ifstream file("/proc/self/statm");  // pages: total, resident, shared (file-backed)
  int64_t all = 0, resident = 0, shared = 0;
  if (!(file >> all >> resident >> shared)) return 0;
  return (resident - shared) * sysconf(_SC_PAGESIZE);
}

}  // namespace palm
