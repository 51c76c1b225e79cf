/* Plays a full disk to a process and all that it starts, by LD_PRELOAD: for the paths that a pattern names.

   FULL_DISK_LIST     a file to which a line is added for each thing that happens: "<what> <path>", where what is
                      `open` (for writing), `mkdir`, `link` (symbolic ones, too), `socket`, or `hit` (answered ENOSPC)
   FULL_DISK_PATTERN  a POSIX extended regular expression; paths that it finds a match in are on the full disk
   FULL_DISK_WHEN     `make`: no name can be added; `write`: names can, no byte can be written; `sync`: what was
                      written is refused at fsync or close, as network file systems do
   FULL_DISK_COUNT    a file in which matches are counted, one byte each, over all processes
   FULL_DISK_FROM     the first match that is refused, counted from 1: what comes before still had room

   What stdio writes stays inside of the C library: a stream that is opened on the full disk is given /dev/full. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <regex.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FULL(result) do { errno = ENOSPC; return result; } while (0)

static void put(const char *variable, const char *text, size_t length) {
  const char *path = getenv(variable);
  if (!path) return;
  int kept = errno, file = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file >= 0) {
    syscall(SYS_write, file, text, length);
    syscall(SYS_close, file);
  }
  errno = kept;
}

static void tell(const char *what, const char *path) {
  char line[PATH_MAX + 32];
  int length = snprintf(line, sizeof line, "%s %s\n", what, path);
  if (length > 0 && length < (int)sizeof line) put("FULL_DISK_LIST", line, (size_t)length);
}

/* A path as it is from the root, of a name that belongs to a folder's descriptor. */
static void whole(int folder, const char *name, char *out) {
  char link[64];
  ssize_t length = 0;
  out[0] = 0;
  if (name[0] != '/') {
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, out, PATH_MAX - 1);
    if (length < 0) length = 0;
    if (length < PATH_MAX - 1) out[length++] = '/';
  }
  snprintf(out + length, (size_t)(PATH_MAX - length), "%s", name);
}

static int is_file(const char *path) {
  return path[0] == '/' && strncmp(path, "/proc/", 6) && (strncmp(path, "/dev/", 5) || !strncmp(path, "/dev/shm/", 9));
}

static int matches(const char *path) {
  static regex_t compiled;
  static int state; /* 0: not looked at yet, 1: there is a pattern, -1: there is none */
  if (!state) {
    const char *pattern = getenv("FULL_DISK_PATTERN");
    state = pattern && *pattern && !regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) ? 1 : -1;
  }
  return state == 1 && is_file(path) && !regexec(&compiled, path, 0, NULL, 0);
}

/* Whether this has no room. when: what is tried. */
static int full(const char *when, const char *path) {
  int kept = errno, refused = 0;
  const char *chosen = getenv("FULL_DISK_WHEN"), *from = getenv("FULL_DISK_FROM"), *count = getenv("FULL_DISK_COUNT");
  if (chosen && !strcmp(chosen, when) && matches(path)) {
    struct stat facts;
    refused = 1;
    if (from && count) {
      put("FULL_DISK_COUNT", ".", 1);
      refused = !stat(count, &facts) && facts.st_size >= atol(from);
    }
    if (refused) tell("hit", path);
  }
  errno = kept;
  return refused;
}

static int full_file(const char *when, int file) {
  char link[64], path[PATH_MAX];
  int kept = errno;
  if (file < 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  errno = kept;
  if (length <= 0) return 0;
  path[length] = 0;
  return full(when, path);
}

/* Whether no name can be made there; what is to be made is put down. */
static int no_name(const char *what, int folder, const char *name) {
  char path[PATH_MAX];
  whole(folder, name, path);
  if (is_file(path)) tell(what, path);
  return full("make", path);
}

static int opens_full(int folder, const char *name, int flags) {
  if (!name || ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT))) return 0;
  char path[PATH_MAX];
  int kept = errno;
  whole(folder, name, path);
  if ((flags & O_TMPFILE) == O_TMPFILE) strncat(path, "/#unnamed", PATH_MAX - 1 - strlen(path)), flags |= O_CREAT;
  if (is_file(path)) tell("open", path);
  int there = !faccessat(AT_FDCWD, path, F_OK, 0);
  errno = kept;
  return !there && (flags & O_CREAT) && full("make", path);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | __O_TMPFILE)) { \
  va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
#define OPEN(name) int name(const char *path, int flags, ...) { MODE REAL(name); \
  if (opens_full(AT_FDCWD, path, flags)) FULL(-1); return real(path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { MODE REAL(name); \
  if (opens_full(folder, path, flags)) FULL(-1); return real(folder, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
int __openat64_2(int folder, const char *path, int flags) { return openat64(folder, path, flags); }
int creat(const char *path, mode_t mode) { return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open64(path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int shm_open(const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  REAL(shm_open);
  snprintf(path, sizeof path, "/dev/shm/%s", name + (name[0] == '/'));
  if (opens_full(AT_FDCWD, path, flags)) FULL(-1);
  return real(name, flags, mode);
}

#define FOPEN(name) FILE *name(const char *path, const char *mode) { REAL(name); \
  if (path && strpbrk(mode, "wa+")) { char at[PATH_MAX]; whole(AT_FDCWD, path, at); \
    if (opens_full(AT_FDCWD, path, O_RDWR | (mode[0] == 'r' ? 0 : O_CREAT))) FULL(NULL); \
    if (full("write", at)) { FILE *made = real(path, mode); if (made) { fclose(made); made = real("/dev/full", "w"); } \
      return made; } } \
  return real(path, mode); }
FOPEN(fopen) FOPEN(fopen64)

#define WRITER(type, name, file, parameters, arguments) type name parameters { REAL(name); \
  if (full_file("write", file)) FULL(-1); return real arguments; }
WRITER(ssize_t, write, file, (int file, const void *from, size_t size), (file, from, size))
WRITER(ssize_t, pwrite, file, (int file, const void *from, size_t size, off_t at), (file, from, size, at))
WRITER(ssize_t, pwrite64, file, (int file, const void *from, size_t size, off64_t at), (file, from, size, at))
WRITER(ssize_t, writev, file, (int file, const struct iovec *from, int count), (file, from, count))
WRITER(ssize_t, pwritev, file, (int file, const struct iovec *from, int count, off_t at), (file, from, count, at))
WRITER(ssize_t, pwritev64, file, (int file, const struct iovec *from, int count, off64_t at), (file, from, count, at))
WRITER(ssize_t, pwritev2, file, (int file, const struct iovec *from, int count, off_t at, int flags),
       (file, from, count, at, flags))
WRITER(ssize_t, copy_file_range, to, (int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags),
       (from, at, to, there, size, flags))
WRITER(ssize_t, sendfile, to, (int to, int from, off_t *at, size_t size), (to, from, at, size))
WRITER(ssize_t, sendfile64, to, (int to, int from, off64_t *at, size_t size), (to, from, at, size))
WRITER(int, fallocate, file, (int file, int mode, off_t at, off_t size), (file, mode, at, size))
WRITER(int, fallocate64, file, (int file, int mode, off64_t at, off64_t size), (file, mode, at, size))

/* A file that becomes longer; cutting one takes no room. */
#define LONGER(name, number) int name(int file, number size) { struct stat facts; REAL(name); \
  if (!fstat(file, &facts) && size > facts.st_size && full_file("write", file)) FULL(-1); return real(file, size); }
LONGER(ftruncate, off_t) LONGER(ftruncate64, off64_t)
#define ALLOCATE(name, number) int name(int file, number at, number size) { REAL(name); \
  return full_file("write", file) ? ENOSPC : real(file, at, size); }
ALLOCATE(posix_fallocate, off_t) ALLOCATE(posix_fallocate64, off64_t)

#define SYNC(name) int name(int file) { REAL(name); if (full_file("sync", file)) FULL(-1); return real(file); }
SYNC(fsync) SYNC(fdatasync)
int close(int file) {
  REAL(close);
  int refused = 0, flags = getenv("FULL_DISK_PATTERN") ? fcntl(file, F_GETFL) : -1;
  if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY) refused = full_file("sync", file);
  int done = real(file);
  if (refused) FULL(-1);
  return done;
}

#define NAME(name, what, folder, path, parameters, arguments) int name parameters { REAL(name); \
  if (no_name(what, folder, path)) FULL(-1); return real arguments; }
NAME(mkdirat, "mkdir", folder, path, (int folder, const char *path, mode_t mode), (folder, path, mode))
NAME(symlink, "link", AT_FDCWD, path, (const char *to, const char *path), (to, path))
NAME(symlinkat, "link", folder, path, (const char *to, int folder, const char *path), (to, folder, path))
NAME(link, "link", AT_FDCWD, path, (const char *to, const char *path), (to, path))
int mkdir(const char *path, mode_t mode) {
  REAL(mkdir);
  struct stat facts;
  if (!stat(path, &facts)) return real(path, mode); /* EEXIST needs no room */
  if (no_name("mkdir", AT_FDCWD, path)) FULL(-1);
  return real(path, mode);
}
char *mkdtemp(char *path) {
  REAL(mkdtemp);
  if (no_name("mkdir", AT_FDCWD, path)) FULL(NULL);
  return real(path);
}
#define TEMPORARY(name) int name(char *path) { REAL(name); if (no_name("open", AT_FDCWD, path)) FULL(-1); \
  return real(path); }
TEMPORARY(mkstemp) TEMPORARY(mkstemp64)
sem_t *sem_open(const char *name, int flags, ...) {
  char path[PATH_MAX];
  REAL(sem_open);
  va_list more;
  va_start(more, flags);
  mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
  unsigned value = flags & O_CREAT ? va_arg(more, unsigned) : 0;
  va_end(more);
  snprintf(path, sizeof path, "/dev/shm/sem.%s", name + (name[0] == '/'));
  if (opens_full(AT_FDCWD, path, O_RDWR | flags) || ((flags & O_CREAT) && full("write", path))) FULL(SEM_FAILED);
  return real(name, flags, mode, value);
}
int bind(int file, const struct sockaddr *address, socklen_t length) {
  REAL(bind);
  const struct sockaddr_un *local = (const struct sockaddr_un *)address;
  if (address->sa_family == AF_UNIX && local->sun_path[0] && no_name("socket", AT_FDCWD, local->sun_path)) FULL(-1);
  return real(file, address, length);
}
