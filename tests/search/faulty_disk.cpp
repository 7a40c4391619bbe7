// Makes writes to a run's archive fail: preloaded, it answers EIO (or what FAULT_ERRNO says) from the FAULT_AFTER-th
// write, synchronisation or truncation of a file whose name has FAULT_PATH in it. The disk itself stays as it is.
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace {
long calls = 0;

bool fails(int descriptor) {
  const char *after = getenv("FAULT_AFTER");
  char link[64], name[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, name, sizeof name - 1);
  if (!after || length < 0) return false;
  name[length] = 0;
  if (!strstr(name, getenv("FAULT_PATH")) || ++calls < atol(after)) return false;
  errno = atoi(getenv("FAULT_ERRNO"));
  return true;
}

template <typename Function> Function real(const char *name) { return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name)); }
}  // namespace

extern "C" {
ssize_t write(int fd, const void *data, size_t size) {
  return fails(fd) ? -1 : real<ssize_t (*)(int, const void *, size_t)>("write")(fd, data, size);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  return fails(fd) ? -1 : real<ssize_t (*)(int, const void *, size_t, off_t)>("pwrite")(fd, data, size, at);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  return fails(fd) ? -1 : real<ssize_t (*)(int, const void *, size_t, off64_t)>("pwrite64")(fd, data, size, at);
}
int fsync(int fd) { return fails(fd) ? -1 : real<int (*)(int)>("fsync")(fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : real<int (*)(int)>("fdatasync")(fd); }
int ftruncate64(int fd, off64_t size) { return fails(fd) ? -1 : real<int (*)(int, off64_t)>("ftruncate64")(fd, size); }
}
